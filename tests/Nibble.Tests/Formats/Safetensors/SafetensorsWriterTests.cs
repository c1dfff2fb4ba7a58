using Nibble.Tests.Files;
using Nibble.Files;
using Nibble.Formats.Safetensors;

namespace Nibble.Tests.Formats.Safetensors;

public sealed class SafetensorsWriterTests : IDisposable
{
    private static readonly Gen<SafetensorsTensor> Tensor =
        from name in Gen.String[1, 8]
        where name.All(character => !char.IsSurrogate(character))
        from type in Gen.Enum<ElementType>()
        from shape in Gen.Long[0, 4].Array[0, 3]
        from seed in Gen.Byte
        select SafetensorsTensor.FromBytes(name, type, shape, Filled((int)(shape.Aggregate(1L, (count, size) => count * size) * type.ByteSize()), seed));

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void WriteGivesTheBytesOfTheFormat()
    {
        var path = folder.File("tiny.safetensors");
        SafetensorsWriter.Write(
            path,
            [
                SafetensorsTensor.FromFloats("y", ElementType.F16, [2], (float[])[1, -2]),
                SafetensorsTensor.FromFloats("x", ElementType.F32, [1, 1], (float[])[1]),
            ],
            new Dictionary<string, string> { ["format"] = "pt" });

        const string Header =
            """{"__metadata__":{"format":"pt"},"x":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"y":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}""";
        var padded = Header.PadRight((Header.Length + 7) / 8 * 8);
        Assert.Equal(SafetensorsFileTests.Bytes(padded, [0, 0, 128, 63, 0, 60, 0, 192]), File.ReadAllBytes(path));
        Assert.Equal([path], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void WriteThenOpenGivesTheSameTensorsInAnyOrder()
    {
        var (first, second) = (folder.File("first"), folder.File("second"));
        Tensor.Array[0, 6].Where(tensors => tensors.DistinctBy(tensor => tensor.Name).Count() == tensors.Length).Sample(
            tensors =>
            {
                SafetensorsWriter.Write(first, tensors);
                SafetensorsWriter.Write(second, [.. tensors.Reverse()]);
                Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(second));

                using var file = SafetensorsFile.Open(first);
                Assert.Equal(tensors.Length, file.Tensors.Count);
                foreach (var tensor in tensors)
                {
                    var entry = file.Entry(tensor.Name);
                    Assert.Equal(tensor.ElementType, entry.ElementType);
                    Assert.Equal(tensor.Shape, entry.Shape);
                    Assert.Equal(0, entry.Offset % tensor.ElementType.ByteSize());
                    using var bytes = new MemoryStream();
                    tensor.Write(bytes);
                    Assert.Equal(bytes.ToArray(), file.ReadBytes(tensor.Name));
                }
            },
            iter: 100,
            threads: 1);
    }

    [Fact]
    public void WriteRefusesWhatCannotBeReadAndLeavesNothing()
    {
        var path = folder.File("refused");
        Refuse(SafetensorsTensor.FromBytes("short", ElementType.F32, [2], new byte[4]));
        Refuse(SafetensorsTensor.FromBytes("long", ElementType.F32, [1], new byte[8]));
        Refuse(SafetensorsTensor.FromBytes("negative", ElementType.F32, [-1], new byte[8]));
        Refuse(SafetensorsTensor.FromBytes("huge", ElementType.F32, [long.MaxValue, 2], new byte[8]));
        Refuse(SafetensorsTensor.FromBytes("__metadata__", ElementType.I8, [1], new byte[1]));
        Refuse(SafetensorsTensor.FromBytes("twice", ElementType.I8, [1], new byte[1]), SafetensorsTensor.FromBytes("twice", ElementType.I8, [1], new byte[1]));
        Assert.Empty(Directory.GetFiles(folder.Path));

        void Refuse(params SafetensorsTensor[] tensors) => Assert.Throws<ArgumentException>(() => SafetensorsWriter.Write(path, tensors));
    }

    private static byte[] Filled(int length, byte seed)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
