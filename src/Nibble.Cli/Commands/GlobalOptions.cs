using System.CommandLine;

namespace Nibble.Cli.Commands;

/// <summary>Options that every command has.</summary>
internal sealed class GlobalOptions
{
    private readonly Option<bool> quiet = new("--quiet") { Description = "No progress on stderr, only warnings and errors.", Recursive = true };

    private readonly Option<bool> verbose = new("--verbose")
    {
        Description = "Every stage of the progress on a line of its own, and the cause of an error in full.",
        Recursive = true,
    };

    private readonly Option<string?> log = new("--log")
    {
        Description = "File to append messages and progress to, with the time of each.",
        Recursive = true
    };

    /// <summary>Adds the options to the root command.</summary>
    public void AddTo(Command root)
    {
        root.Options.Add(quiet);
        root.Options.Add(verbose);
        root.Options.Add(log);
    }

    /// <summary>Makes the host follow the options.</summary>
    /// <exception cref="NibbleException">The options contradict each other, or the log cannot be written.</exception>
    public void Apply(ParseResult parsed, CommandHost host, IEnumerable<string> words)
    {
        if (parsed.GetValue(quiet) && parsed.GetValue(verbose))
        {
            throw new UsageException($"{quiet.Name} and {verbose.Name} are both given; expected at most one");
        }

        host.Detail = parsed.GetValue(quiet) ? Detail.Quiet : parsed.GetValue(verbose) ? Detail.Verbose : Detail.Normal;
        if (parsed.GetValue(log) is { } path)
        {
            host.OpenLog(path, CommonOptions.CommandLine(words));
        }
    }
}
