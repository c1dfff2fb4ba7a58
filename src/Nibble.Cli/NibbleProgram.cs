using System.CommandLine;
using System.CommandLine.Help;
using System.Runtime.InteropServices;
using Nibble.Cli.Commands;
using Nibble.Recipes;

namespace Nibble.Cli;

/// <summary>The command line: parses, runs one command, and turns failures into messages and exit codes.</summary>
internal static class NibbleProgram
{
    private const string JsonOption = "--json";

    /// <summary>How command lines are read: an argument that starts with @ is itself, not a file of arguments.</summary>
    private static readonly ParserConfiguration Parsing = new() { ResponseFileTokenReplacer = null };

    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter error)
    {
        using var host = new CommandHost(output, error);
        var parsed = CreateRoot(host).Parse(args.Length == 0 ? ["--help"] : args, Parsing);
        host.FailsInJson = parsed.Tokens.Any(token => token.Value == JsonOption);
        if (parsed.Errors.Count > 0)
        {
            return host.Fail([.. Problems(parsed).Select(Failure.Usage)], Hint(parsed));
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
        catch (Exception exception)
        {
            return host.Fail([Failure.Of(exception)], exception is UsageException ? Hint(parsed) : null);
        }
    }

    /// <summary>Where to read how the command is used.</summary>
    private static string Hint(ParseResult parsed)
    {
        var command = parsed.CommandResult.Command;
        return $"Try 'nibble {(command.Parents.Any() ? $"{command.Name} " : string.Empty)}--help'.";
    }

    /// <summary>What is wrong with a command line, with a guess what an unknown word was meant to be.</summary>
    private static IEnumerable<string> Problems(ParseResult parsed)
    {
        var command = parsed.CommandResult.Command;
        string[] known = [.. command.Subcommands.Select(known => known.Name), .. command.Options.SelectMany(known => (string[])[known.Name, .. known.Aliases])];

        // Where the command itself is unknown, nothing can be said of the words behind it.
        return parsed.UnmatchedTokens is [var first, ..] && command.Subcommands.Count > 0
            ? [$"There is no command '{first}'.{Suggestion.For(first, known)}"]
            : parsed.Errors.Select(problem => problem.Message
                + (parsed.UnmatchedTokens.FirstOrDefault(word => problem.Message.Contains($"'{word}'", StringComparison.Ordinal)) is { } word ? Suggestion.For(word, known) : string.Empty));
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
