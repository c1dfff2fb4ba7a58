using System.Text.Json;

namespace Nibble.Cli.Tests.Commands;

/// <summary>What a command line gave back.</summary>
internal sealed record CommandRun(int ExitCode, string Output, string Error)
{
    /// <summary>The one JSON document on stdout.</summary>
    public JsonElement Json
    {
        get
        {
            using var document = JsonDocument.Parse(Output);
            return document.RootElement.Clone();
        }
    }

    /// <summary>The perplexity that <c>eval --json</c> says.</summary>
    public double Perplexity => Metric("perplexity");

    /// <summary>A measure that <c>eval --json</c> says.</summary>
    public double Metric(string name, string of = "metrics") => Json.GetProperty(of).GetProperty(name).GetDouble();

    /// <summary>Runs <c>nibble</c> in this process.</summary>
    public static async Task<CommandRun> Of(params string[] args)
    {
        await using StringWriter output = new(), error = new();
        var code = await NibbleProgram.RunAsync(args, output, error);
        return new CommandRun(code, output.ToString(), error.ToString());
    }

    /// <summary>Runs <c>nibble</c> and expects that it succeeds.</summary>
    public static async Task<CommandRun> Succeeds(params string[] args)
    {
        var run = await Of(args);
        Assert.True(run.ExitCode == Cli.ExitCode.Done, run.Error);
        return run;
    }
}
