using Nibble.Tests.Files;
using Nibble.Files;
using System.Buffers.Binary;
using System.Text;
using Nibble.Formats.Safetensors;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Safetensors;

public sealed class SafetensorsFileTests : IDisposable
{
    /// <summary>Headers of 16 bytes of tensors that mutations start from.</summary>
    /// <summary>What mutations put in: words of the format, and numbers at the ends of their ranges.</summary>
    private static readonly string[] HeaderPieces =
    [
        "0", "1", "-1", "9223372036854775807", "18446744073709551615", "1e3", "4294967296", "2147483648", "[", "]", "{", "}", ",", ":", "\"", "\\ud800", "null",
        "true",
        "\"dtype\":\"F32\",", "\"shape\":[4],", "\"data_offsets\":[0,16],", "\"__metadata__\":{},", "\"a\":", "[[[[[[[[[[",
    ];

    private const string TwoTensors =
        """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[3],"data_offsets":[8,11]}}""";

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> ValidFiles { get; } = Corpus.Names("safetensors").Valid;

    public static TheoryData<string> BrokenFiles { get; } = Corpus.Names("safetensors").Broken;

    public static TheoryData<string, int, string> HostileHeaders => new()
    {
        { "[]", 0, "expected an object" },
        { "", 0, "not valid JSON" },
        { "{", 0, "not valid JSON" },
        { "{} {}", 0, "not valid JSON" },
        { """{"a":1}""", 0, "expected an object of dtype" },
        { """{"a":{}}""", 0, "needs dtype, shape and data_offsets" },
        { """{"a":{"dtype":"F32","shape":[1]}}""", 0, "needs dtype, shape and data_offsets" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}""", 4, "two numbers" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}""", 4, "unknown or repeated key x" },
        { """{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}""", 4, "unknown or repeated key dtype" },
        { """{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}""", 4, "element type F33; expected one of BF16, F16, F32" },
        { """{"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}""", 4, "expected a string" },
        { """{"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}""", 4, "expected a list of numbers" },
        { """{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}""", 4, "expected a number" },
        { """{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", 4, "not an integer from 0" },
        { """{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}""", 4, "not an integer from 0" },
        { """{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}""", 4, "not an integer from 0" },
        { """{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}""", 0, "larger than any file" },
        { """{"a":{"dtype":"F32","shape":[2305843009213693952],"data_offsets":[0,0]}}""", 0, "larger than any file" },
        { """{"a":{"dtype":"I8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}""", 4, "data_offsets" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", 4, "F32 [2] is 8 bytes" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}""", 4, "F32 [1] is 4 bytes" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 3, "cut short" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 5, "after the last tensor" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}""", 5, "leaves a gap" },
        { """{"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}}""", 3, "overlaps" },
        { """{"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}""", 2, "overlaps" },
        { """{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}""", 2, "contains a twice" },
        { """{"__metadata__":{"k":"1","k":"2"}}""", 0, "contains k twice" },
        { """{"__metadata__":{"k":1}}""", 0, "expected a string" },
        { """{"__metadata__":{},"__metadata__":{}}""", 0, "contains __metadata__ twice" },
        { """{"\ud800":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}""", 1, "not valid JSON" },
        { """{"a":{"dtype":"I8","shape":[[[[[[[[[[1]]]]]]]]]],"data_offsets":[0,1]}}""", 1, "expected a number" },
    };

    public void Dispose() => folder.Dispose();

    [Fact]
    public void OpenReadsAHandmadeFile()
    {
        byte[] data = [0, 0, 128, 63, 0, 0, 0, 192, 1, 2, 255];
        using var file = SafetensorsFile.Open(folder.Write("hand.safetensors", Bytes(TwoTensors, data)));

        Assert.Equal(["a", "b"], file.Tensors.Select(tensor => tensor.Name));
        var (a, b) = (file.Tensors[0], file.Tensors[1]);
        Assert.Equal((ElementType.F32, 8L + TwoTensors.Length, 8L, 2L), (a.ElementType, a.Offset, a.ByteLength, a.Count));
        Assert.Equal([3L], b.Shape);
        Assert.Equal([1f, -2f], file.ReadFloats("a"));
        Assert.Equal([1, 2, 255], file.ReadBytes("b"));
        Assert.Empty(file.Metadata);
        Assert.True(file.Contains("a"));
        Assert.False(file.Contains("c"));
        Assert.Contains("no tensor c", Assert.Throws<NibbleException>(() => file.ReadBytes("c")).Message, StringComparison.Ordinal);
        Assert.Contains("tensor b is I8", Assert.Throws<SafetensorsException>(() => file.ReadFloats("b")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OpenReadsMetadataScalarsAndEmptyTensors()
    {
        const string Header =
            """{"__metadata__":{"format":"pt","é":"ü"},"s":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"e":{"dtype":"F16","shape":[0,5],"data_offsets":[0,0]},"h":{"dtype":"F16","shape":[1,1],"data_offsets":[2,4]}}  """;
        using var file = SafetensorsFile.Open(folder.Write("odd.safetensors", Bytes(Header, [0x80, 0x3F, 0x00, 0x3C])));

        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal("ü", file.Metadata["é"]);
        Assert.Equal([1f], file.ReadFloats("s"));
        Assert.Equal([1f], file.ReadFloats("h"));
        Assert.Empty(file.ReadFloats("e"));
    }

    [Theory]
    [MemberData(nameof(HostileHeaders))]
    public void OpenRefusesHostileHeaders(string header, int dataBytes, string complaint)
    {
        var path = folder.Write("hostile.safetensors", Bytes(header, new byte[dataBytes]));
        var exception = Assert.Throws<SafetensorsException>(() => SafetensorsFile.Open(path));
        Assert.Contains(complaint, exception.Message, StringComparison.Ordinal);
        Assert.Equal(path, exception.File);
        Assert.InRange(exception.Offset, 0, new FileInfo(path).Length);
    }

    [Fact]
    public void OpenRefusesHostileLengths()
    {
        byte[] two = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        var whole = Bytes(TwoTensors, two);
        Assert.Contains("8-byte header length, found 3 bytes", Refusal(whole[..3]), StringComparison.Ordinal);
        Assert.Contains("8-byte header length, found 0 bytes", Refusal([]), StringComparison.Ordinal);
        Assert.Contains("cut short", Refusal(whole[..20]), StringComparison.Ordinal);
        Assert.Contains("cut short", Refusal(whole[..^1]), StringComparison.Ordinal);
        Assert.Contains("limit of 100000000", Refusal([255, 255, 255, 255, 255, 255, 255, 255]), StringComparison.Ordinal);
        Assert.Contains("not valid UTF-8", Refusal(Bytes([(byte)'{', (byte)'"', 0xFF, (byte)'"', (byte)'}'], [])), StringComparison.Ordinal);
        Assert.Contains("There is no file", Assert.Throws<NibbleException>(() => SafetensorsFile.Open(folder.File("absent"))).Message,
            StringComparison.Ordinal);

        string Refusal(byte[] bytes) => Assert.Throws<SafetensorsException>(() => SafetensorsFile.Open(folder.Write("short.safetensors", bytes))).Message;
    }

    [Fact]
    public void OpenRefusesDeepNesting()
    {
        var deep = """{"a":""" + string.Concat(Enumerable.Repeat("""{"a":""", 100_000));
        var path = folder.Write("deep.safetensors", Bytes(deep, []));
        Assert.Throws<SafetensorsException>(() => SafetensorsFile.Open(path));
    }

    [Fact]
    public void OpenOfMutatedFilesReadsOrThrowsSafetensorsException()
    {
        var valid = Bytes(TwoTensors, [0, 0, 128, 63, 0, 0, 0, 192, 1, 2, 255]);
        var path = folder.File("mutated.safetensors");
        var opened = 0;
        Gen.Select(Gen.Int[0, valid.Length - 1], Gen.Byte).Array[1, 4].Select(Gen.Int[0, 3]).Sample(
            (mutations, cut) =>
            {
                var bytes = valid[..^cut];
                foreach (var (position, value) in mutations)
                {
                    bytes[Math.Min(position, bytes.Length - 1)] = value;
                }

                File.WriteAllBytes(path, bytes);
                try
                {
                    using var file = SafetensorsFile.Open(path);
                    Assert.Equal(bytes.Length, file.Tensors.Max(tensor => tensor.Offset + tensor.ByteLength));
                    foreach (var tensor in file.Tensors)
                    {
                        Assert.Equal(tensor.ByteLength, file.ReadBytes(tensor.Name).Length);
                    }

                    opened++;
                }
                catch (SafetensorsException exception)
                {
                    Assert.InRange(exception.Offset, 0, bytes.Length);
                }
            },
            iter: 2_000,
            threads: 1);
        Assert.NotEqual(0, opened);
    }

    [Theory]
    [MemberData(nameof(ValidFiles))]
    public void OpenReadsTheCorpus(string name)
    {
        using var file = SafetensorsFile.Open(Corpus.PathOf("safetensors", name));
        Assert.Equal(Enumerable.Range(1, 16).Select(i => (byte)i),
            file.Tensors.OrderBy(tensor => tensor.Offset).SelectMany(tensor => file.ReadBytes(tensor.Name)));
    }

    [Theory]
    [MemberData(nameof(BrokenFiles))]
    public void OpenRefusesTheCorpus(string name) => Assert.Throws<SafetensorsException>(() => SafetensorsFile.Open(Corpus.PathOf("safetensors", name)));

    /// <summary>A million mutations of the corpus' headers: each is read or refused, and what is read covers the file without overlap.</summary>
    [Fact]
    public void AMutatedHeaderIsReadOrRefused()
    {
        const int DataBytes = 16;
        byte[][] corpus = [.. Corpus.Read("safetensors").Where(file => file.Length >= SafetensorsHeader.LengthSize + DataBytes)
            .Select(file => file[SafetensorsHeader.LengthSize..^DataBytes])];
        byte[][] pieces = [.. HeaderPieces.Select(piece => Encoding.UTF8.GetBytes(piece))];
        var read = 0;
        Gen.Select(Gen.Int[0, corpus.Length - 1], Mutations.Any).Sample(
            (seed, mutations) =>
            {
                var json = mutations.Of(corpus[seed], pieces);
                var length = SafetensorsHeader.LengthSize + json.Length + DataBytes;
                try
                {
                    var (tensors, _) = SafetensorsHeader.Read("mutated", json, length);
                    var end = (long)(SafetensorsHeader.LengthSize + json.Length);
                    foreach (var tensor in tensors)
                    {
                        Assert.Equal(end, tensor.Offset);
                        end += tensor.ByteLength;
                    }

                    Assert.Equal(length, end);
                    Interlocked.Increment(ref read);
                }
                catch (SafetensorsException exception)
                {
                    Assert.InRange(exception.Offset, 0, length);
                }
            },
            iter: 1_000_000);
        Assert.InRange(read, 1000, 999_000);
    }

    [Fact]
    public void ReadFloatsReachesBeyondTwoGibibytes()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "writing a sparse file needs a call of its own on Windows");
        const long Hole = 3L << 30;
        var header = $$"""{"hole":{"dtype":"I8","shape":[{{Hole}}],"data_offsets":[0,{{Hole}}]},"end":{"dtype":"F32","shape":[1],"data_offsets":[{{Hole}},{{Hole + 4}}] } }""";
        var path = folder.Write("sparse.safetensors", Bytes(header, []));
        using (var stream = new FileStream(path, FileMode.Open, FileAccess.Write))
        {
            stream.Position = stream.Length + Hole;
            stream.Write([0, 0, 128, 63]);
        }

        using var file = SafetensorsFile.Open(path);
        Assert.Equal([1f], file.ReadFloats("end"));
        Assert.Contains("at most", Assert.Throws<SafetensorsException>(() => file.ReadBytes("hole")).Message, StringComparison.Ordinal);
    }

    internal static byte[] Bytes(string header, byte[] data) => Bytes(Encoding.UTF8.GetBytes(header), data);

    private static byte[] Bytes(byte[] header, byte[] data)
    {
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        return [.. length, .. header, .. data];
    }
}
