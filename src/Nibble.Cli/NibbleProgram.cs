using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using Nibble.Cli.Commands;
using Nibble.Cli.Rendering;
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
        List<string> problems = [.. Problems(parsed), .. EmptyValues(parsed)];
        if (problems.Count > 0)
        {
            return host.Fail(problems.ConvertAll(Failure.Usage), Hint(parsed));
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, host.Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, host.Stop);
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, host.Stop);
        using var fileSize = IgnoreFileSizeSignal();
        try
        {
            (output as StandardWriter)?.RequireOpen();
            WarnOfThreads(host, parsed);
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
            // Not by a task, which cannot be begun where memory has run out.
            return host.Fail([Failure.Of(exception)], exception is UsageException ? Hint(parsed) : null);
        }
    }

    /// <summary>Lets a file that grows beyond the process's limit (<c>ulimit -f</c>) be an error of writing, instead of the end of the process.</summary>
    private static PosixSignalRegistration? IgnoreFileSizeSignal()
    {
        const int linuxAndMac = 25;
        return OperatingSystem.IsWindows() ? null : PosixSignalRegistration.Create((PosixSignal)linuxAndMac, context => context.Cancel = true);
    }

    /// <summary>Values that are empty, as that of a shell's variable which was never set. Only a prompt may be.</summary>
    private static IEnumerable<string> EmptyValues(ParseResult parsed) =>
        from child in parsed.CommandResult.Children
        where child.Tokens.Any(token => token.Value.Length == 0)
        let name = child is OptionResult option ? option.Option.Name : (child as ArgumentResult)?.Argument.Name
        where name is not (null or "--prompt")
        select $"{name} is empty; give it a value, or leave it out where it is not required.";

    private static void WarnOfThreads(CommandHost host, ParseResult parsed)
    {
        var threads = parsed.CommandResult.Command.Options.OfType<Option<int?>>().FirstOrDefault(option => option.Name == CommonOptions.ThreadsName);
        if (threads is not null && parsed.GetValue(threads) > ThreadLimit.Most)
        {
            host.Warn($"{threads.Name} is {parsed.GetValue(threads)}, and this process has {ThreadLimit.Most} processors: {ThreadLimit.Most} threads are used");
        }
    }

    /// <summary>Help as wide as the terminal, for which the parser's own would ask .NET's console, which then writes control characters.</summary>
    private static HelpOption Help(CommandHost host)
    {
        var help = new HelpOption();
        if (help.Action is HelpAction action)
        {
            action.MaxWidth = host.Output is StandardWriter { IsTerminal: true } terminal ? terminal.Columns : int.MaxValue;
        }

        return help;
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
            : parsed.Errors.Select(problem => Named(problem)
                + (parsed.UnmatchedTokens.FirstOrDefault(word => problem.Message.Contains($"'{word}'", StringComparison.Ordinal)) is { } word
                    ? Suggestion.For(word, known) : string.Empty));
    }

    /// <summary>The message of a problem in one line, with the option's name, which the parser leaves out where only some values are accepted.</summary>
    private static string Named(ParseError problem)
    {
        var message = string.Join(' ', problem.Message.Split((char[])['\r', '\n', '\t', ' '], StringSplitOptions.RemoveEmptyEntries));
        return problem.SymbolResult is OptionResult { Option.Name: var name } && !message.Contains(name, StringComparison.Ordinal) ? $"{name}: {message}"
            : message;
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
        FinetuneCommand.Create(host),
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
        Help(host),
        new VersionOption(),
    };
}
