using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using Nibble.Cli.Tests.Commands;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Serving;
using Nibble.Tests.Shared;
using Nibble.Torch.Native;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Cli.Tests.Documents;

[Collection(OneAtATime.Name)]
public sealed class CSharpSnippetTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void StandInTheDocument()
    {
        Assert.Equal(Blocks(), Shown("docs/reference/csharp.md"));
    }

    [Fact]
    public void ThoseOfTheTutorialStandInTheDocument()
    {
        var shown = Shown("docs/tutorials/onnx.md").ToList();

        Assert.Equal(2, shown.Count);
        Assert.All(shown, code => Assert.Contains(code, Blocks()));
    }

    [Fact]
    public void ThoseOfTheServerStandInTheSample()
    {
        var sample = File.ReadAllText(Path.Combine(Document.Root, "samples", "sentence-search", "Program.cs")).ReplaceLineEndings("\n");
        var shown = Shown("docs/how-to/aspnet.md").ToList();

        Assert.Equal(2, shown.Count);
        Assert.All(shown, code => Assert.Contains($"\n{code}", sample, StringComparison.Ordinal));
    }

    [Fact]
    public void AMatrixIsQuantized()
    {
        var random = new Random(1);
        float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];

        Assert.Equal(64, CSharpSnippets.Matrix(Values(8 * 64), 8, 64, Values(100 * 64)).Columns);
    }

    [Fact]
    public void AModelIsQuantizedTrainedComparedAndExported()
    {
        var compared = CSharpSnippets.Model(
            folder.Model, folder.TrainingText, folder.At("out"), new Progress<RunProgress>(), new ListLogger([]), TestContext.Current.CancellationToken);

        Assert.InRange(compared.Quantized.Agreement!.Value, 0.5, 1);
        Assert.True(File.Exists(folder.At("out.gguf")));
        Assert.True(File.Exists(folder.At("out-trained/nibble.json")));
    }

    [Fact]
    public void AModelInMemoryIsQuantizedAndCompared()
    {
        var compared = CSharpSnippets.InMemory(folder.Model, folder.TrainingText, folder.At("out"));

        Assert.InRange(compared.Quantized.Divergence!.Value, 1e-6, 1);
        Assert.True(File.Exists(folder.At("out/nibble.json")));
    }

    [Fact]
    public void AModuleIsTrained()
    {
        TorchRuntime.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3));
        using var same = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3));
        var (images, labels) = (randn(10, 6), randint(3, 10));
        CSharpSnippets.Module(network, same, images, labels);
        same.eval();

        Assert.Equal(network.forward(images).data<float>().ToArray(), same.forward(images).data<float>().ToArray());
    }

    [Fact]
    public void AnExportedEncoderServes()
    {
        using var exports = new TemporaryFolder();
        using var embedding = TinyExport.Embedding(exports);
        var embeddingFile = Path.Combine(Path.GetDirectoryName(embedding.Path)!, "embedding.onnx");
        File.Move(embedding.Path, embeddingFile);
        using var classifier = TinyExport.Classifier(exports);

        var (similarity, label, probabilities) = CSharpSnippets.Exported(
            embeddingFile, classifier.Path, ["good film", "bad films"], new ListLogger([]), TestContext.Current.CancellationToken);

        Assert.InRange(similarity, -1, 1 - 1e-4);
        Assert.Contains(label, (string[])["a", "b", "c"]);
        Assert.Equal(1, probabilities.Sum(), 1e-5);
    }

    [Fact]
    public void AnONNXFileIsQuantizedAndRuns()
    {
        const int size = 8;
        using var files = new TemporaryFolder();
        var builder = new GraphBuilder();
        var first = Convolution(builder, builder.Input("images", OnnxType.Float32, "batch", 3, size, size), "first", 8, 3);
        builder.Output(Convolution(builder, builder.Node("Relu", [first]), "second", 4, 8), "scores", OnnxType.Float32, ["batch", 4, size - 4, size - 4]);
        OnnxWriter.Write(files.File("float.onnx"), builder.Build("two convolutions", []), builder.Initializers);
        var random = new Random(1);
        var images = Enumerable.Range(0, 10).Select(_ => Numbers(random, 3 * size * size)).ToList();

        var (result, scores) = CSharpSnippets.Onnx(
            files.File("float.onnx"), files.File("int8.onnx"), images, size, new ListLogger([]), new Progress<RunProgress>(),
            TestContext.Current.CancellationToken);

        Assert.Equal(files.File("int8.onnx"), result.Path);
        Assert.InRange(result.Outputs.Single().RelativeError!.Value, 0, 0.1);
        Assert.Equal(4 * 4 * 4, scores.Length);
    }

    private static string Convolution(GraphBuilder builder, string input, string name, int outputs, int inputs)
    {
        var values = Numbers(new Random(outputs), outputs * inputs * 9);
        var weight = builder.Initializer(name, OnnxType.Float32, [outputs, inputs, 3, 3], stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
        return builder.Node("Conv", [input, weight]);
    }

    private static float[] Numbers(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];

    private static IEnumerable<string> Blocks()
    {
        var source = File.ReadAllText(Path.Combine(Document.Root, "tests", "Nibble.Cli.Tests", "Documents", "CSharpSnippets.cs")).ReplaceLineEndings("\n");
        return Regex.Matches(source, "// block begins\n(?<code>.*?) *// block ends", RegexOptions.Singleline | RegexOptions.ExplicitCapture)
            .Select(match => Regex.Replace(match.Groups["code"].Value, "^ {8}", string.Empty, RegexOptions.Multiline));
    }

    private static IEnumerable<string> Shown(string document) =>
        Regex.Matches(Document.Read(document).Text, "```csharp\n(?<code>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture)
            .Select(match => match.Groups["code"].Value);
}
