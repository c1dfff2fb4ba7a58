using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using Nibble.Cli.Commands;
using Nibble.Cli.Rendering;
using Nibble.Recipes;

namespace Nibble.Cli;

/// <summary>The command line: parses it, runs one command, and turns failures into messages and exit codes.</summary>
internal static class NibbleProgram
{
    private const string JsonOption = "--json";

    private const string FirstSteps =
        """
        Nibble quantizes neural networks, after training (PTQ) or during training (QAT). Three first steps:

          nibble compare                                       see both methods on a small built-in model
          nibble advise MODEL --data TEXT                      learn which method your model needs, and at how many bits
          nibble ptq MODEL --recipe w4a16-g32 --output FOLDER  quantize your model to 4 bits

        MODEL is a Hugging Face folder. 'nibble --help' lists all commands, 'nibble COMMAND --help' explains one, and
        'nibble recipes' lists the recipes.
        """;

    /// <summary>Parser settings: an argument that starts with @ is taken literally and does not name a file of arguments.</summary>
    private static readonly ParserConfiguration Parsing = new() { ResponseFileTokenReplacer = null };

    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter error)
    {
        using var host = new CommandHost(output, error);
        var globals = new GlobalOptions();
        var root = CreateRoot(host, globals);
        var completions = Completion.Of(root, args, Parsing);
        var parsed = root.Parse(args, Parsing);
        host.FailsInJson = parsed.Tokens.Any(token => token.Value == JsonOption);
        List<string> problems = args.Length == 0 || completions is not null ? [] : [.. Problems(parsed), .. EmptyValues(parsed)];
        if (problems.Count > 0)
        {
            return host.Fail(problems.ConvertAll(Failure.Usage), Hint(parsed));
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, host.Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, host.Stop);
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, host.Stop);
        using var fileSize = IgnoreFileSizeSignal();
        int code;
        try
        {
            (output as StandardWriter)?.RequireOpen();
            if (args.Length == 0)
            {
                output.WriteLine(FirstSteps);
                return ExitCode.Done;
            }

            if (completions is not null)
            {
                completions.ToList().ForEach(output.WriteLine);
                return ExitCode.Done;
            }

            globals.Apply(parsed, host, args);
            WarnOfThreads(host, parsed);
            UnknownKeys.Warn(host, parsed.Tokens.Select(token => token.Value));
            code = await parsed.InvokeAsync(new InvocationConfiguration
            {
                Output = output,
                Error = error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
            }).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // Not in a task: none can be started when memory has run out.
            code = host.Fail([Failure.Of(exception)], exception is UsageException ? Hint(parsed) : null);
            host.Explain(exception);
        }

        host.Log?.WriteLine($"exit code {code}");
        return code;
    }

    /// <summary>Makes a file beyond the process's size limit (<c>ulimit -f</c>) a write error instead of ending the process.</summary>
    private static PosixSignalRegistration? IgnoreFileSizeSignal()
    {
        const int linuxAndMac = 25;
        return OperatingSystem.IsWindows() ? null : PosixSignalRegistration.Create((PosixSignal)linuxAndMac, context => context.Cancel = true);
    }

    /// <summary>Reports empty values, which an unset shell variable gives. Only a prompt may be empty.</summary>
    private static IEnumerable<string> EmptyValues(ParseResult parsed) =>
        from child in parsed.CommandResult.Children
        where child.Tokens.Any(token => token.Value.Length == 0)
        let name = child is OptionResult option ? option.Option.Name : (child as ArgumentResult)?.Argument.Name
        where name is not (null or "--prompt")
        select $"{name} is empty; give it a value, or omit it if it is not required.";

    private static void WarnOfThreads(CommandHost host, ParseResult parsed)
    {
        var threads = parsed.CommandResult.Command.Options.OfType<Option<int?>>().FirstOrDefault(option => option.Name == CommonOptions.ThreadsName);
        if (threads is not null && parsed.GetValue(threads) > ThreadLimit.Most)
        {
            host.Warn($"{threads.Name} is {parsed.GetValue(threads)}, but this process has {ThreadLimit.Most} processors; using {ThreadLimit.Most} threads");
        }
    }

    /// <summary>Help as wide as the terminal. The parser's own would ask .NET's console for the width, which then writes control characters.</summary>
    private static HelpOption Help(CommandHost host)
    {
        var help = new HelpOption();
        if (help.Action is HelpAction action)
        {
            action.MaxWidth = host.Output is StandardWriter { IsTerminal: true } terminal ? terminal.Columns : int.MaxValue;
        }

        return help;
    }

    /// <summary>Where to find help on the command.</summary>
    private static string Hint(ParseResult parsed)
    {
        var command = parsed.CommandResult.Command;
        return $"Try 'nibble {(command.Parents.Any() ? $"{command.Name} " : string.Empty)}--help'.";
    }

    /// <summary>The errors of a command line, with suggestions for unknown words.</summary>
    private static IEnumerable<string> Problems(ParseResult parsed)
    {
        var command = parsed.CommandResult.Command;
        string[] known = [.. command.Subcommands.Select(known => known.Name), .. command.Options.SelectMany(known => (string[])[known.Name, .. known.Aliases])];

        // If the command itself is unknown, nothing can be said about the words after it.
        return parsed.UnmatchedTokens is [var first, ..] && command.Subcommands.Count > 0
            ? [$"There is no command '{first}'.{Suggestion.For(first, known)}"]
            : parsed.Errors.Select(problem => Named(problem)
                + (parsed.UnmatchedTokens.FirstOrDefault(word => problem.Message.Contains($"'{word}'", StringComparison.Ordinal)) is { } word
                    ? Suggestion.For(word, known) : string.Empty));
    }

    /// <summary>The message of a problem on one line, with the option's name, which the parser omits when it accepts only some values.</summary>
    private static string Named(ParseError problem)
    {
        var message = string.Join(' ', problem.Message.Split((char[])['\r', '\n', '\t', ' '], StringSplitOptions.RemoveEmptyEntries));
        return problem.SymbolResult is OptionResult { Option.Name: var name } && !message.Contains(name, StringComparison.Ordinal) ? $"{name}: {message}"
            : message;
    }

    /// <summary>The command <c>nibble</c> with all its subcommands.</summary>
    /// <remarks>Not a <see cref="RootCommand"/>, whose help would call the program by the name of its file, Nibble.Cli.</remarks>
    internal static Command CreateRoot(CommandHost host, GlobalOptions? globals = null)
    {
        var root = new Command(
            "nibble",
            """
            Nibble quantizes trained neural networks, by post-training quantization (ptq) or
            quantization-aware training (qat). It also tells you which of the two a model needs,
            from a short probe (advise) or by running both methods to completion (compare).

            Start with:  nibble compare
            Exit codes:  0 success, 1 internal error, 2 wrong usage, 3 bad input, 4 nothing meets the budget or constraints,
                         or an engine's results differ, 5 libtorch or an engine cannot be loaded, 130 cancelled
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
            RecipesCommand.Create(host),
            ReportCommand.Create(host),
            ExportCommand.Create(host),
            ImportCommand.Create(host),
            VerifyCommand.Create(host),
            BenchCommand.Create(host),
            ImatrixCommand.Create(host),
            QuantizeCommand.Create(host),
            Help(host),
            new VersionOption(),
        };
        (globals ?? new GlobalOptions()).AddTo(root);
        return root;
    }
}
