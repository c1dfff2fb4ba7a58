using Nibble.Tests.Files;
using Nibble.Files;
using System.Runtime.InteropServices;
using System.Text;
using Nibble.Formats.Gguf;

namespace Nibble.Tests.Formats.Gguf;

public sealed class ImportanceMatrixTests : IDisposable
{
    private static readonly ImportanceMatrix Some = new(
        new Dictionary<string, InputSquares>
        {
            ["blk.1.ffn_down.weight"] = new([4, 0, 1.5f, 1e-20f], [3]),
            ["blk.0.attn_q.weight"] = new([1, 2], [3]),
            ["blk.0.ffn_up_exps.weight"] = new([1, 2, 3, 4, 5, 6], [2, 0]),
        },
        ["first.txt", "zweiter é"],
        chunks: 7,
        chunkSize: 512);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void WhatIsWrittenComesBack()
    {
        Some.Write(folder.File("some.gguf"));
        AssertSame(ImportanceMatrix.Read(folder.File("some.gguf")));
        Assert.Equal(folder.File("some.gguf"), ImportanceMatrix.Read(folder.File("some.gguf")).Path);
    }

    [Fact]
    public void LlamaCppReadsWhatIsWritten()
    {
        Some.Write(folder.File("some.gguf"));
        var (entries, chunks, chunkSize) = LlamaCppImportance.Read(folder.File("some.gguf"))!.Value;
        Assert.Equal((7, 512), (chunks, chunkSize));
        Assert.Equal(Some.Entries.Keys.Order(), entries.Keys.Order());
        foreach (var (name, entry) in Some.Entries)
        {
            Assert.Equal(entry.Squares, entries[name].Sums);
            Assert.Equal(entry.Counts, entries[name].Counts.Select(count => (float)count));
        }
    }

    [Fact]
    public void TheOlderFormIsRead()
    {
        var matrix = ImportanceMatrix.Read(folder.Write("old.dat", Legacy()));
        Assert.Equal((2, 5), (matrix.Entries.Count, matrix.Chunks));
        Assert.Equal(["wiki.txt"], matrix.Datasets);
        Assert.Equal([10f, 20, 0], matrix.Entries["blk.0.attn_k.weight"].Squares);
        Assert.Equal([5f], matrix.Entries["blk.0.attn_k.weight"].Counts);

        // Very old files end behind the entries; llama.cpp reads both as well.
        var bare = ImportanceMatrix.Read(folder.Write("older.dat", Legacy()[..^16]));
        Assert.Equal((2, 0, 0), (bare.Entries.Count, bare.Chunks, bare.Datasets.Count));
        Assert.Equal(2, LlamaCppImportance.Read(folder.File("old.dat"))!.Value.Entries.Count);
    }

    [Fact]
    public void OtherTensorsArePassedOver()
    {
        var squares = Floats("a.weight.in_sum2", [2], 1, 2);
        GgufWriter.Write(folder.File("new.gguf"), [], [squares, Floats("a.weight.counts", [1], 3), Floats("a.weight.in_sum", [2], -1, 1)]);
        Assert.Equal([1f, 2], ImportanceMatrix.Read(folder.File("new.gguf")).Entries["a.weight"].Squares);
    }

    [Fact]
    public void FilesThatAreNoneAreRefused()
    {
        Assert.Contains("no file", Refusal<NibbleException>(folder.File("absent")), StringComparison.Ordinal);
        Assert.Contains("is not an importance matrix", Refusal(folder.Write("empty.dat", [])), StringComparison.Ordinal);
        Assert.Contains("is not an importance matrix", Refusal(folder.Write("text.dat", "What is this?"u8.ToArray())), StringComparison.Ordinal);
        Assert.Contains("is not an importance matrix", Refusal(Gguf(Floats("a.weight", [2], 1, 2))), StringComparison.Ordinal);
        Assert.Contains("but not a.weight.counts", Refusal(Gguf(Floats("a.weight.in_sum2", [2], 1, 2))), StringComparison.Ordinal);
        Assert.Contains("F32 [2, 1] and a.weight.counts F32 [1, 2]",
            Refusal(Gguf(Floats("a.weight.in_sum2", [2, 1], 1, 2), Floats("a.weight.counts", [1, 2], 1, 2))), StringComparison.Ordinal);
        Assert.Contains("holds NaN", Refusal(Gguf(Floats("a.weight.in_sum2", [2], 1, float.NaN), Floats("a.weight.counts", [1], 1))), StringComparison.Ordinal);
        Assert.Contains("holds -2", Refusal(Gguf(Floats("a.weight.in_sum2", [2], 1, 2), Floats("a.weight.counts", [1], -2))), StringComparison.Ordinal);
        Assert.Contains("holds Infinity", Refusal(folder.Write("infinite.dat", Legacy(float.PositiveInfinity))), StringComparison.Ordinal);
    }

    /// <summary>A cut or changed file is read or refused; nothing else happens, and no claim is believed that the file cannot hold.</summary>
    [Fact]
    public void DamagedFilesAreReadOrRefused()
    {
        Some.Write(folder.File("some.gguf"));
        foreach (var whole in (byte[][])[File.ReadAllBytes(folder.File("some.gguf")), Legacy()])
        {
            Gen.Select(Gen.Int[0, whole.Length], Gen.Int[0, whole.Length - 1], Gen.Byte, Gen.Bool).Sample(
                (length, place, value, cut) =>
                {
                    var bytes = cut ? whole[..length] : [.. whole];
                    if (!cut)
                    {
                        bytes[place] = value;
                    }

                    try
                    {
                        Assert.NotEmpty(ImportanceMatrix.Read(folder.Write("damaged", bytes)).Entries);
                    }
                    catch (GgufException)
                    {
                    }
                },
                iter: 2000,
                threads: 1);
        }
    }

    [Fact]
    public void WeightsAreOneOnAverageAndNeverZero()
    {
        Assert.Equal([4 / 1.375f, 1e-6f, 1.5f / 1.375f, 1e-6f], Some.Weights(Matrix("blk.1.ffn_down.weight", 4))!);
        Assert.Null(Some.Weights(Matrix("blk.2.ffn_down.weight", 4)));
        Assert.Null(new ImportanceMatrix(new Dictionary<string, InputSquares> { ["a"] = new([0, 0], [3]) }, [], 1, 1).Weights(Matrix("a", 2)));
        Assert.Contains("has 2 columns, but the matrix has 4", Assert.Throws<NibbleException>(() => Some.Weights(Matrix("blk.0.attn_q.weight", 4))).Message,
            StringComparison.Ordinal);
        Assert.Contains("of 2 experts", Assert.Throws<NibbleException>(() => Some.Weights(Matrix("blk.0.ffn_up_exps.weight", 6))).Message,
            StringComparison.Ordinal);
    }

    private static GgufEntry Matrix(string name, long columns) => new(name, GgufType.F32, [columns, 1], 0, 0);

    private static GgufTensor Floats(string name, long[] dimensions, params float[] values) =>
        new(name, GgufType.F32, dimensions, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));

    private string Gguf(params GgufTensor[] tensors)
    {
        GgufWriter.Write(folder.File("hostile.gguf"), [], tensors);
        return folder.File("hostile.gguf");
    }

    private static string Refusal(string path) => Refusal<GgufException>(path);

    private static string Refusal<T>(string path)
        where T : Exception => Assert.Throws<T>(() => ImportanceMatrix.Read(path)).Message;

    private static byte[] Legacy(float last = 0)
    {
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write(2);
        Entry("blk.0.attn_k.weight", 5, 10, 20, last);
        Entry("blk.0.ffn_up.weight", 5, 1);
        writer.Write(5);
        writer.Write(8);
        writer.Write("wiki.txt"u8);
        writer.Flush();
        return stream.ToArray();

        void Entry(string name, int windows, params float[] values)
        {
            writer.Write(name.Length);
            writer.Write(Encoding.UTF8.GetBytes(name));
            writer.Write(windows);
            writer.Write(values.Length);
            writer.Write(MemoryMarshal.AsBytes(values.AsSpan()));
        }
    }

    private static void AssertSame(ImportanceMatrix read)
    {
        Assert.Equal(Some.Datasets, read.Datasets);
        Assert.Equal((Some.Chunks, Some.ChunkSize), (read.Chunks, read.ChunkSize));
        Assert.Equal(Some.Entries.Keys.Order(), read.Entries.Keys.Order());
        foreach (var (name, entry) in Some.Entries)
        {
            Assert.Equal(entry.Squares, read.Entries[name].Squares);
            Assert.Equal(entry.Counts, read.Entries[name].Counts);
        }
    }
}
