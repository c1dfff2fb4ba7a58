using Nibble.Tests.Files;
using Nibble.Files;
using System.Buffers.Binary;
using System.Text;
using Nibble.Formats.Gguf;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Gguf;

public sealed class GgufFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    /// <summary>What is written over which bytes, and what is said then.</summary>
    public static TheoryData<string, string> Faults => new()
    {
        { "magic", "this is not a GGUF file" },
        { "version 1", "version 1, expected 2 or 3" },
        { "big-endian", "big-endian" },
        { "tensor count", "tensors, more than its" },
        { "metadata count", "metadata, more than its" },
        { "key length", "claims" },
        { "value type", "value of type 13" },
        { "text length", "claims" },
        { "bool", "neither 0 nor 1" },
        { "array type", "value of type 255" },
        { "array length", "claims" },
        { "dimensions", "5 dimensions" },
        { "size zero", "sizes of 1 or more" },
        { "size negative", "sizes of 1 or more" },
        { "size overflow", "sizes of 1 or more" },
        { "size ragged", "a multiple of the block size 32" },
        { "type", "type Q4_2, which is not supported" },
        { "offset", "bytes into the data, expected" },
        { "name zero", "1 to 63 bytes" },
    };

    public void Dispose() => folder.Dispose();

    [Fact]
    public void OpenReadsWhatWasWritten()
    {
        using var file = GgufFile.Open(folder.Write("any.gguf", AnyGguf.Bytes));

        Assert.Equal(AnyGguf.Metadata.Select(pair => pair.Key), file.Metadata.Select(pair => pair.Key));
        Assert.Equal("llama", file.Find("general.architecture")!.AsText());
        Assert.Equal(5, file.Find("llama.block_count")!.AsInteger());
        Assert.Equal(1e-5f, file.Find("llama.epsilon")!.AsNumber());
        Assert.True(file.Find("tokenizer.add")!.AsBool());
        Assert.Equal(["<s>", "é", string.Empty], file.Find("tokenizer.tokens")!.AsTexts()!);
        Assert.Equal([0f, -1.5f, 2], file.Find("tokenizer.scores")!.AsFloats()!);
        Assert.Equal([3, 1, -1], file.Find("tokenizer.types")!.AsIntegers()!);
        Assert.Null(file.Find("absent"));
        Assert.Null(file.Find("general.architecture")!.AsInteger());
        Assert.Null(file.Find("tokenizer.scores")!.AsTexts());

        Assert.Equal(["a.weight", "b.weight", "c.weight", "d.weight"], file.Tensors.Select(tensor => tensor.Name));
        var c = file.FindTensor("c.weight")!;
        Assert.Equal((GgufType.F16, 2L, 3L, 12L), (c.Type, c.Columns, c.Rows, c.ByteLength));
        Assert.All(file.Tensors, tensor => Assert.Equal(0, tensor.Offset % 32));
        var bytes = new byte[4];
        file.ReadBytes(file.FindTensor("b.weight")!, 2, bytes);
        Assert.Equal([2, 2, 2, 2], bytes);
        Assert.Equal(new FileInfo(file.Path).Length, AnyGguf.Bytes.Length);
    }

    [Fact]
    public void WritingWhatWasReadGivesTheSameBytes()
    {
        using var file = GgufFile.Open(folder.Write("any.gguf", AnyGguf.Bytes));
        var tensors = file.Tensors.Select(entry => new GgufTensor(entry.Name, entry.Type, entry.Dimensions, stream =>
        {
            var bytes = new byte[entry.ByteLength];
            file.ReadBytes(entry, 0, bytes);
            stream.Write(bytes);
        })).ToList();
        Assert.Equal(AnyGguf.Bytes, AnyGguf.Write(file.Metadata, tensors));
    }

    [Fact]
    public void AnAlignmentIsReadAndWritten()
    {
        var bytes = AnyGguf.Write([new("general.alignment", GgufValue.Of(128u))], AnyGguf.Tensors);
        using var file = GgufFile.Open(folder.Write("aligned.gguf", bytes));
        Assert.Equal(128u, file.Alignment);
        Assert.All(file.Tensors, tensor => Assert.Equal(0, tensor.Offset % 128));
        Assert.Throws<ArgumentException>(() => AnyGguf.Write([new("general.alignment", GgufValue.Of(12u))], []));
        Assert.Throws<ArgumentException>(() => AnyGguf.Write([new("general.alignment", GgufValue.Of(0u))], []));
    }

    [Theory]
    [MemberData(nameof(Faults))]
    public void OpenRefusesFaults(string fault, string complaint)
    {
        var bytes = (byte[])AnyGguf.Bytes.Clone();
        switch (fault)
        {
            case "magic": bytes[0]++; break;
            case "version 1": bytes[4] = 1; break;
            case "big-endian": BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(4), 3); break;
            case "tensor count": Put(bytes, 8, long.MaxValue); break;
            case "metadata count": Put(bytes, 16, -1); break;
            case "key length": Put(bytes, 24, 1 << 20); break;
            case "value type": bytes[Behind(bytes, "general.architecture")] = 13; break;
            case "text length": Put(bytes, Behind(bytes, "general.architecture") + 4, -1); break;
            case "bool": bytes[Behind(bytes, "tokenizer.add") + 4] = 2; break;
            case "array type": bytes[Behind(bytes, "tokenizer.tokens") + 4] = 255; break;
            case "array length": Put(bytes, Behind(bytes, "tokenizer.scores") + 8, long.MaxValue); break;
            case "dimensions": bytes[Behind(bytes, "a.weight")] = 5; break;
            case "size zero": Put(bytes, Behind(bytes, "a.weight") + 12, 0); break;
            case "size negative": Put(bytes, Behind(bytes, "a.weight") + 12, -1); break;
            case "size overflow": Put(bytes, Behind(bytes, "a.weight") + 12, long.MaxValue); break;
            case "size ragged": Put(bytes, Behind(bytes, "a.weight") + 4, 63); break;
            case "type": bytes[Behind(bytes, "a.weight") + 20] = 4; break;
            case "offset": Put(bytes, Behind(bytes, "b.weight") + 16, 96); break;
            default: bytes[Behind(bytes, "a.weight") - 1] = 0; break;
        }

        var path = folder.Write("hostile.gguf", bytes);
        var exception = Assert.Throws<GgufException>(() => GgufFile.Open(path));
        Assert.Contains(complaint, exception.Message, StringComparison.Ordinal);
        Assert.InRange(exception.Offset, 0, bytes.Length);
    }

    [Fact]
    public void OpenRefusesWhatWasCutShort()
    {
        // The last tensor's padding may be missing, as some writers leave it out.
        var end = AnyGguf.Bytes.Length - 16;
        for (var length = 0; length < AnyGguf.Bytes.Length; length++)
        {
            var path = folder.Write("short.gguf", AnyGguf.Bytes[..length]);
            if (length >= end)
            {
                GgufFile.Open(path).Dispose();
            }
            else
            {
                Assert.Throws<GgufException>(() => GgufFile.Open(path));
            }
        }
    }

    [Fact]
    public void OpenRefusesRepeatedNamesAndDeepLists()
    {
        Assert.Contains("contains k twice", Refusal([new("k", GgufValue.Of(1u)), new("k", GgufValue.Of(1u))], []), StringComparison.Ordinal);
        Assert.Contains("tensor t twice", Refusal([], [AnyGguf.Tensor("t", GgufType.F32, [1], 0), AnyGguf.Tensor("t", GgufType.F32, [1], 0)]),
            StringComparison.Ordinal);
        Assert.Contains("1 to 63 bytes", Refusal([], [AnyGguf.Tensor(new string('t', 64), GgufType.F32, [1], 0)]), StringComparison.Ordinal);

        var deep = Enumerable.Repeat(new byte[] { 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0 }, 1000).SelectMany(level => level).ToArray();
        Assert.Contains("deeper", Refusal([new("deep", new GgufValue(GgufValueType.Array, deep))], []), StringComparison.Ordinal);

        static string Refusal(IReadOnlyList<KeyValuePair<string, GgufValue>> metadata, IReadOnlyList<GgufTensor> tensors) =>
            Assert.Throws<ArgumentException>(() => AnyGguf.Write(metadata, tensors)).Message;
    }

    [Fact]
    public void ATensorMustWriteItsBytes()
    {
        var tensor = new GgufTensor("t", GgufType.F32, [2], stream => stream.WriteByte(0));
        Assert.Contains("its shape requires", Assert.Throws<ArgumentException>(() => AnyGguf.Write([], [tensor])).Message, StringComparison.Ordinal);
        Assert.Contains("does not fill whole blocks", Assert.Throws<ArgumentException>(() => AnyGguf.Write([], [tensor with { Type = GgufType.Q8_0 }])).Message,
            StringComparison.Ordinal);
    }

    public static TheoryData<string> ValidFiles { get; } = Corpus.Names("gguf").Valid;

    public static TheoryData<string> BrokenFiles { get; } = Corpus.Names("gguf").Broken;

    [Theory]
    [MemberData(nameof(ValidFiles))]
    public void OpenReadsTheCorpus(string name)
    {
        using var file = GgufFile.Open(Corpus.PathOf("gguf", name));
        foreach (var tensor in file.Tensors)
        {
            file.ReadBytes(tensor, 0, new byte[tensor.ByteLength]);
        }

        _ = file.Metadata.Select(Everything).ToArray();
    }

    [Theory]
    [MemberData(nameof(BrokenFiles))]
    public void OpenRefusesTheCorpus(string name) => Assert.Throws<GgufException>(() => GgufFile.Open(Corpus.PathOf("gguf", name)));

    /// <summary>A million mutations of the corpus: each is read or refused, and what is read lies inside the file.</summary>
    [Fact]
    public void AMutatedHeaderIsReadOrRefused()
    {
        byte[][] corpus = [AnyGguf.Bytes, .. Corpus.Read("gguf")];
        long[] lengths = [0, 1, 32, 1 << 16, 1L << 32, 1L << 61, long.MaxValue - 31, long.MaxValue, -1];
        byte[][] pieces = [.. lengths.Select(BitConverter.GetBytes), .. Enumerable.Range(0, 14).Select(i => new byte[] { (byte)i, 0, 0, 0 }),
            "general.alignment"u8.ToArray(), [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], [0xC3, 0x28]];
        var read = 0;
        Gen.Select(Gen.Int[0, corpus.Length - 1], Mutations.Any, Gen.Frequency((3, Gen.Const(0)), (1, Gen.Int[0, 1 << 12]))).Sample(
            (seed, mutations, cut) =>
            {
                var mutated = mutations.Of(corpus[seed], pieces);
                var bytes = mutated[..^Math.Min(cut, mutated.Length)];
                try
                {
                    var (metadata, tensors, alignment) = GgufHeader.Read("mutated", bytes, bytes.Length);
                    Assert.All(tensors, tensor =>
                        Assert.True(tensor.Offset % alignment == 0 && tensor.ByteLength > 0 && tensor.Offset + tensor.ByteLength <= bytes.Length));
                    _ = metadata.Select(Everything).ToArray();
                    Interlocked.Increment(ref read);
                }
                catch (GgufException exception)
                {
                    Assert.InRange(exception.Offset, 0, bytes.Length);
                }
            },
            iter: 1_000_000);
        Assert.InRange(read, 1000, 999_000);
    }

    private static object Everything(KeyValuePair<string, GgufValue> entry)
    {
        var value = entry.Value;
        return (value.AsInteger(), value.AsNumber(), value.AsBool(), value.AsText(), value.AsTexts(), value.AsFloats(), value.AsIntegers());
    }

    private static int Behind(byte[] bytes, string text) => bytes.AsSpan().IndexOf(Encoding.UTF8.GetBytes(text)) + text.Length;

    private static void Put(byte[] bytes, int position, long value) => BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(position), value);
}
