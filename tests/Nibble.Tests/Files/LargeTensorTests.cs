using Nibble.Files;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Tests.Files;

/// <summary>Tensors of more than 2^31 bytes or values: the embedding of Qwen3 8B has 2.5 GB in float32, a layer of Llama 405B 3.5 GB.</summary>
public sealed class LargeTensorTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(ElementType.F32)]
    [InlineData(ElementType.BF16)]
    public void ValuesAreWrittenAPartAtATime(ElementType type)
    {
        var random = new Random(1);
        var values = Enumerable.Range(0, (2 << 20) + 5).Select(_ => random.NextSingle()).ToArray();
        using var stream = new MemoryStream();
        type.Write(values, stream);
        Assert.Equal(type.ToBytes(values), stream.ToArray());
    }

    [Fact]
    public unsafe void ValuesOfMoreThanTwoGibibytesAreWritten()
    {
        // Pages that nothing was written to cost no memory.
        const int Count = (1 << 29) + 3;
        var values = (float*)NativeMemory.AllocZeroed(Count, sizeof(float));
        try
        {
            values[Count - 1] = 1;
            using var stream = new CountingStream();
            ElementType.F32.Write(new ReadOnlySpan<float>(values, Count), stream);
            Assert.Equal(Count * (long)sizeof(float), stream.Length);
            Assert.Equal(BitConverter.GetBytes(1f), stream.Last);
        }
        finally
        {
            NativeMemory.Free(values);
        }
    }

    [Fact]
    public void TensorsOfMoreThanTwoToThe31ValuesAreReadInPlaces()
    {
        // A file of holes, but for its last value.
        const long Rows = 152_064;
        const long Columns = 16_384;
        var header = Encoding.UTF8.GetBytes(string.Create(
            CultureInfo.InvariantCulture,
            $$$"""{"t":{"dtype":"BF16","shape":[{{{Rows}}},{{{Columns}}}],"data_offsets":[0,{{{Rows * Columns * 2}}}]}}"""));
        var path = folder.File("large.safetensors");
        using (var file = File.Create(path))
        {
            file.Write(BitConverter.GetBytes((long)header.Length));
            file.Write(header);
            file.SetLength(8 + header.Length + (Rows * Columns * 2));
            file.Seek(-2, SeekOrigin.End);
            file.Write([0x40, 0x40]);
        }

        using var opened = SafetensorsFile.Open(path);
        var values = new float[3];
        opened.ReadFloats("t", (Rows * Columns) - 3, values);
        Assert.Equal([0, 0, 3], values);
        var message = Assert.Throws<SafetensorsException>(() => opened.ReadFloats("t")).Message;
        Assert.Contains("at most 2147483591 can be read into an array", message, StringComparison.Ordinal);
    }

    [Fact]
    public void MatricesOfMoreValuesThanAnArrayAreCountedAndRefused()
    {
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(32));
        const int Rows = 152_064;
        const int Columns = 16_384;
        var groups = (long)Rows * Columns / 32;
        Assert.Equal(
            ((long)Rows * Columns / 2) + (groups * 4) + (groups / 2),
            QuantizedTensor.CountStoredBytes(Rows, Columns, scheme with { ScalePrecision = ScalePrecision.Float32 }));
        const string Message = "the matrix has 152,064 x 16,384 values, and a quantized matrix can have at most 2,147,483,591; leave it in float";
        Assert.Equal(Message, Assert.Throws<NibbleException>(() => new QuantizedTensor(Rows, Columns, scheme, [], [], [])).Message);
        Assert.Throws<NibbleException>(() => QuantizedTensor.RequireSize("w", long.MaxValue, long.MaxValue));
        QuantizedTensor.RequireSize("the head of Llama 405B", 128_256, 16_384);
        Assert.Throws<NibbleException>(() => QuantizedTensor.GroupCount(Rows, Columns, Granularity.Group(1)));
    }

    private sealed class CountingStream : Stream
    {
        private long length;

        public byte[] Last { get; private set; } = [];

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => length;

        public override long Position
        {
            get => length;
            set => throw new NotSupportedException();
        }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            length += buffer.Length;
            Last = buffer[^4..].ToArray();
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
