using Nibble.Tests.Files;
using Nibble.Files;
using Nibble.Formats.Gguf;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Gguf;

/// <summary>Which matrix gets which type, tensor by tensor against llama.cpp's own quantizer.</summary>
public sealed class GgufMixtureTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    /// <summary>Depths at which the rules turn, shared keys, tied heads, and rows that blocks do not divide.</summary>
    private static readonly SyntheticShape[] Shapes =
    [
        new("llama", 1),
        new("llama", 8, Tied: true),
        new("llama", 17, Heads: 8, KeyHeads: 2),
        new("llama", 32, Heads: 8, KeyHeads: 4, Tied: true),
        new("llama", 80, Heads: 8, KeyHeads: 1),
        new("llama", 80),
        new("qwen2", 28, Heads: 8, KeyHeads: 1),
        new("qwen2", 80, Heads: 8, KeyHeads: 4, Tied: true),
        new("qwen3", 36, Heads: 8, KeyHeads: 2),
        new("llama", 9, Hidden: 288, Wide: 768),
        new("llama", 9, Hidden: 256, Wide: 672, Tied: true),
        new("llama", 9, Hidden: 96, Wide: 160, Tied: true),
    ];

    public static TheoryData<string> Names { get; } = [
        .. GgufMixture.All.Where(mixture => mixture.Main.BlockSize() > 1 && mixture.Main != GgufType.MXFP4).Select(mixture => mixture.Name)];

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void MatricesGetTheTypesThatLlamaCppGivesThem(string name)
    {
        foreach (var shape in Shapes)
        {
            SyntheticGguf.Write(folder.File("model.gguf"), shape);
            AssertSameTypes(name, shape.ToString(), null);
        }
    }

    /// <summary>With an importance matrix, the first blocks of some files get other types.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void SoDoMatricesWithAnImportanceMatrix(string name)
    {
        foreach (var shape in Shapes.Where(shape => shape.Blocks is 17 or 9))
        {
            SyntheticGguf.Write(folder.File("model.gguf"), shape);
            using var file = GgufFile.Open(folder.File("model.gguf"));
            var random = new Random(3);
            var entries = file.Tensors.Where(tensor => tensor.Name.StartsWith("blk.", StringComparison.Ordinal) && tensor.Rows > 1)
                .ToDictionary(tensor => tensor.Name,
                    tensor => new InputSquares([.. Enumerable.Range(0, (int)tensor.Columns).Select(_ => random.NextSingle())], [1]));
            AssertSameTypes(name, shape.ToString(), new ImportanceMatrix(entries, ["text"], 3, 0));
        }
    }

    [Fact]
    public void PureFilesHaveOneType()
    {
        SyntheticGguf.Write(folder.File("model.gguf"), Shapes[1]);
        foreach (var mixture in GgufMixture.All)
        {
            GgufQuantizer.Run(folder.File("model.gguf"), folder.File("ours.gguf"), mixture, pure: true, threads: 2,
                cancellation: TestContext.Current.CancellationToken);
            using var file = GgufFile.Open(folder.File("ours.gguf"));
            Assert.All(file.Tensors.Where(tensor => tensor.Rows > 1), tensor => Assert.Equal(mixture.Main, tensor.Type));
            File.Delete(folder.File("ours.gguf"));
        }
    }

    /// <summary>llama.cpp writes MXFP4 for experts alone, and Q8_0 for all others.</summary>
    [Fact]
    public void Mxfp4FilesKeepEightBitsAtBothEnds()
    {
        SyntheticGguf.Write(folder.File("model.gguf"), Shapes[0]);
        GgufQuantizer.Run(folder.File("model.gguf"), folder.File("ours.gguf"), GgufMixture.Of(GgufType.MXFP4), pure: false, threads: 1,
            cancellation: TestContext.Current.CancellationToken);
        using var file = GgufFile.Open(folder.File("ours.gguf"));
        Assert.Equal((GgufType.Q8_0, GgufType.Q8_0), (file.FindTensor("output.weight")!.Type, file.FindTensor("token_embd.weight")!.Type));
        Assert.All(file.Tensors.Where(tensor => tensor.Name.StartsWith("blk.", StringComparison.Ordinal) && tensor.Rows > 1),
            tensor => Assert.Equal(GgufType.MXFP4, tensor.Type));
        Assert.Equal(38, file.Find("general.file_type")!.AsInteger());
    }

    [Fact]
    public void AFileThatExistsIsNotReplaced()
    {
        SyntheticGguf.Write(folder.File("model.gguf"), Shapes[0]);
        var theirs = folder.Write("theirs.gguf", "theirs");
        var message = Assert.Throws<NibbleException>(() => GgufQuantizer.Run(
            folder.File("model.gguf"), theirs, GgufMixture.Find("q4_0")!, pure: false, threads: 1,
            cancellation: TestContext.Current.CancellationToken)).Message;
        Assert.Equal($"{theirs} exists already; choose another name, or delete it first", message);
        Assert.Equal("theirs", File.ReadAllText(theirs));
    }

    [Fact]
    public void NamesAreFoundInAnyCase()
    {
        Assert.Equal(GgufMixture.All, GgufMixture.All.Select(mixture => GgufMixture.Find(mixture.Name.ToUpperInvariant())));
        Assert.Null(GgufMixture.Find("q4"));
        Assert.Equal(15u, GgufMixture.Find("Q4_K_M")!.FileType);
        Assert.Throws<ArgumentOutOfRangeException>(() => GgufMixture.Of(GgufType.Q4_K));
    }

    private void AssertSameTypes(string name, string what, ImportanceMatrix? importance)
    {
        var mixture = GgufMixture.Find(name)!;
        File.Delete(folder.File("ours.gguf"));
        GgufQuantizer.Run(folder.File("model.gguf"), folder.File("ours.gguf"), mixture, pure: false, threads: 1, importance,
            cancellation: TestContext.Current.CancellationToken);
        LlamaCppQuantizer.Run(folder.File("model.gguf"), folder.File("theirs.gguf"), mixture.FileType,
            importance?.Entries.ToDictionary(entry => entry.Key, entry => entry.Value.Squares));
        using var ours = GgufFile.Open(folder.File("ours.gguf"));
        using var theirs = GgufFile.Open(folder.File("theirs.gguf"));
        foreach (var tensor in theirs.Tensors)
        {
            Assert.True(tensor.Type == ours.FindTensor(tensor.Name)!.Type,
                $"{what}: {tensor.Name} is {ours.FindTensor(tensor.Name)!.Type}, llama.cpp's {tensor.Type}");
        }

        Assert.Equal(theirs.Find("general.file_type")!.AsInteger(), ours.Find("general.file_type")!.AsInteger());
        Assert.Equal(theirs.Find("general.quantization_version")!.AsInteger(), ours.Find("general.quantization_version")!.AsInteger());
    }
}
