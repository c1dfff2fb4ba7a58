using System.CommandLine;
using System.CommandLine.Help;
using System.Runtime.InteropServices;
using Nibble.Cli.Commands;
using Nibble.Planning;

namespace Nibble.Cli;

/// <summary>The command line: parses, runs one command, and turns failures into messages and exit codes.</summary>
internal static class NibbleProgram
{
    /// <summary>How command lines are read: an argument that starts with @ is itself, not a file of arguments.</summary>
    private static readonly ParserConfiguration Parsing = new() { ResponseFileTokenReplacer = null };

    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter error)
    {
        using var host = new CommandHost(output, error);
        var parsed = CreateRoot(host).Parse(args.Length == 0 ? ["--help"] : args, Parsing);
        if (parsed.Errors.Count > 0)
        {
            foreach (var problem in parsed.Errors)
            {
                await error.WriteLineAsync($"nibble: {problem.Message}").ConfigureAwait(false);
            }

            var command = parsed.CommandResult.Command;
            await error.WriteLineAsync($"Try 'nibble {(command.Parents.Any() ? $"{command.Name} " : string.Empty)}--help'.").ConfigureAwait(false);
            return ExitCode.Usage;
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, host.Cancel);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, host.Cancel);
        try
        {
            UnknownKeys.Warn(host, parsed.Tokens.Select(token => token.Value));
            return await parsed.InvokeAsync(new InvocationConfiguration
            {
                Output = output,
                Error = error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
            }).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            await error.WriteLineAsync("nibble: cancelled; nothing was written").ConfigureAwait(false);
            return ExitCode.Cancelled;
        }
        catch (NativeLibraryException e)
        {
            await error.WriteLineAsync($"nibble: {e.Message}").ConfigureAwait(false);
            return ExitCode.NativeLibrary;
        }
        catch (NoSolutionException e)
        {
            await error.WriteLineAsync($"nibble: {e.Message}").ConfigureAwait(false);
            return ExitCode.NoSolution;
        }
        catch (Exception e) when (e is NibbleException or IOException or UnauthorizedAccessException)
        {
            await error.WriteLineAsync($"nibble: {e.Message}").ConfigureAwait(false);
            return ExitCode.BadInput;
        }
        catch (Exception e)
        {
            await error.WriteLineAsync($"nibble: internal error; please report it with the lines below\n{e}").ConfigureAwait(false);
            return ExitCode.InternalError;
        }
    }

    /// <summary>The command <c>nibble</c> with all its subcommands.</summary>
    /// <remarks>Not a <see cref="RootCommand"/>, whose help would call the program by its file's name, Nibble.Cli.</remarks>
    internal static Command CreateRoot(CommandHost host) => new(
        "nibble",
        """
        Nibble makes trained neural networks small: by post-training quantization (ptq), by
        quantization-aware training (qat), and says which of the two a model needs: by a short
        probe (advise) or by going both roads to their ends (compare).

        Start with:  nibble compare
        Exit codes:  0 done, 1 internal error, 2 wrong usage, 3 bad input, 4 nothing meets the budget or constraints,
                     or an engine differs, 5 libtorch or an engine not loadable, 130 cancelled
        """)
    {
        AdviseCommand.Create(host),
        CompareCommand.Create(host),
        InspectCommand.Create(host),
        PtqCommand.Create(host),
        QatCommand.Create(host),
        EvalCommand.Create(host),
        GenerateCommand.Create(host),
        SensitivityCommand.Create(host),
        MixCommand.Create(host),
        ExportCommand.Create(host),
        ImportCommand.Create(host),
        VerifyCommand.Create(host),
        BenchCommand.Create(host),
        ImatrixCommand.Create(host),
        QuantizeCommand.Create(host),
        new HelpOption(),
        new VersionOption(),
    };
}
