using System.CommandLine;
using System.Runtime.InteropServices;
using Nibble.Cli.Commands;
using Nibble.Torch.Native;

namespace Nibble.Cli;

/// <summary>The command line: parses, runs one command, and turns failures into messages and exit codes.</summary>
internal static class NibbleProgram
{
    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter error)
    {
        using var host = new CommandHost(output, error);
        var root = new RootCommand(
            """
            Nibble makes trained neural networks small: by post-training quantization (ptq), by
            quantization-aware training (qat), or by showing which of the two a model needs (compare).

            Start with:  nibble compare
            Exit codes:  0 done, 1 internal error, 2 wrong usage, 3 bad input, 5 libtorch not loadable, 130 cancelled
            """)
        {
            CompareCommand.Create(host),
            InspectCommand.Create(host),
            PtqCommand.Create(host),
            QatCommand.Create(host),
            EvalCommand.Create(host),
            GenerateCommand.Create(host),
        };
        var parsed = root.Parse(args);
        if (parsed.Errors.Count > 0)
        {
            foreach (var problem in parsed.Errors)
            {
                await error.WriteLineAsync($"nibble: {problem.Message}").ConfigureAwait(false);
            }

            await error.WriteLineAsync($"Try 'nibble {string.Join(' ', args.TakeWhile(arg => !arg.StartsWith('-')).Take(1).Append("--help"))}'.").ConfigureAwait(false);
            return ExitCode.Usage;
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, host.Cancel);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, host.Cancel);
        try
        {
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
        catch (TorchNotLoadableException e)
        {
            await error.WriteLineAsync($"nibble: {e.Message}").ConfigureAwait(false);
            return ExitCode.NativeLibrary;
        }
        catch (Exception e) when (e is NibbleException or IOException or UnauthorizedAccessException)
        {
            await error.WriteLineAsync($"nibble: {e.Message}").ConfigureAwait(false);
            return ExitCode.BadInput;
        }
    }
}
