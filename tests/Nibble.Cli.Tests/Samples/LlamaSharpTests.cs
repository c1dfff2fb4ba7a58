using System.Runtime.InteropServices;
using Nibble.Cli.Tests.Commands;
using Nibble.Cli.Tests.Documents;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;

namespace Nibble.Cli.Tests.Samples;

/// <summary>samples/llamasharp, which the build of these tests builds.</summary>
[Collection(OneAtATime.Name)]
public sealed class LlamaSharpTests : IDisposable
{
    private const string Prompt = "Once upon a time";

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>
    /// Each token that LLamaSharp takes as the most likely one is that of the simulation too, after the same text, or nearly: llama.cpp rounds the inputs of
    /// 4-bit matrices to 8 bits, in its own way on each processor, and the simulation computes with them in float. So whole texts may part where two
    /// tokens are about as likely.
    /// </summary>
    [Fact]
    public async Task WithoutArgumentsItWritesAStoryByTheTokensThatTheSimulationTakes()
    {
        Assert.SkipUnless(
            !OperatingSystem.IsLinux() || NativeLibrary.TryLoad("libgomp.so.1", out _),
            "the llama.cpp of LLamaSharp needs libgomp.so.1 (apt-get install libgomp1), which this machine does not have");

        var run = await ChildProcess.Run(Document.Root, [Program], new() { ["TMPDIR"] = folder.Root }, "dotnet");

        Assert.True(run.ExitCode == 0, run.Error);
        var artifact = Path.Combine(Assert.Single(Directory.GetDirectories(folder.Root, "nibble-*")), "stories");
        Assert.Equal($"{artifact}.gguf: {new FileInfo(artifact + ".gguf").Length} bytes\n", run.Error.ReplaceLineEndings("\n"));
        Assert.StartsWith(Prompt, run.Output, StringComparison.Ordinal);
        var distances = Distances(artifact, run.Output[..^Environment.NewLine.Length]);
        Assert.InRange(distances.Count, 50, 60);
        Assert.All(distances, distance => Assert.InRange(distance, 0, 0.25));
        Assert.InRange(distances.Count(distance => distance == 0), 0.9 * distances.Count, distances.Count);
    }

    [Fact]
    public async Task BadInputIsRefused()
    {
        var usage = await ChildProcess.Run(folder.Root, [Program, folder.Model], program: "dotnet");
        Assert.Equal((ExitCode.Usage, string.Empty), (usage.ExitCode, usage.Output));
        Assert.Equal("Usage: LlamaSharpSample [MODEL TEXT_FILE OUTPUT PROMPT]", usage.Error.Trim());

        var absent = await ChildProcess.Run(
            folder.Root, [Program, folder.At("absent"), folder.TrainingText, folder.At("out"), Prompt], program: "dotnet");
        Assert.Equal((ExitCode.BadInput, string.Empty), (absent.ExitCode, absent.Output));
        Assert.Contains(folder.At("absent"), absent.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.At("out")));
    }

    [Fact]
    public void TheHowToShowsItsCode() => Assert.Contains(
        WithoutMargin(Document.Read("docs/how-to/llamasharp.md").Block("csharp")), WithoutMargin(Document.Read("samples/llamasharp/Program.cs").Text),
        StringComparison.Ordinal);

    private static string Program => Path.Combine(
        Document.Root, "samples", "llamasharp", "bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, $"net{Environment.Version.Major}.0",
        "LlamaSharpSample.dll");

    /// <summary>How far the logit of each token after the prompt is below the highest one, in the simulation of an artifact.</summary>
    private static List<double> Distances(string artifact, string text)
    {
        using var model = LoadedModel.Open(artifact);
        using var predictor = new SimulatedPredictor(model.Decoder);
        var next = TextGenerator.Encode(model.Tokenizer, Prompt);
        var distances = new List<double>();
        foreach (var token in TextGenerator.Encode(model.Tokenizer, text)[next.Length..])
        {
            var logits = predictor.Advance(next);
            distances.Add(logits.Max() - logits[token]);
            next = [token];
        }

        return distances;
    }

    private static string WithoutMargin(string code) => string.Join('\n', code.Split('\n').Select(line => line.TrimStart()));
}
