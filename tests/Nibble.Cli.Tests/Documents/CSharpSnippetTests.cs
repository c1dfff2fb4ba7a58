using System.Text.RegularExpressions;
using Nibble.Cli.Tests.Commands;
using Nibble.Tests.Shared;
using Nibble.Torch.Native;
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
        var source = File.ReadAllText(Path.Combine(Document.Root, "tests", "Nibble.Cli.Tests", "Documents", "CSharpSnippets.cs")).ReplaceLineEndings("\n");
        var blocks = Regex.Matches(source, "// block begins\n(?<code>.*?) *// block ends", RegexOptions.Singleline | RegexOptions.ExplicitCapture)
            .Select(match => Regex.Replace(match.Groups["code"].Value, "^ {8}", string.Empty, RegexOptions.Multiline));
        var shown = Regex.Matches(Document.Read("docs/reference/csharp.md").Text, "```csharp\n(?<code>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture)
            .Select(match => match.Groups["code"].Value);

        Assert.Equal(blocks, shown);
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
}
