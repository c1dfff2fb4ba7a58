using Nibble.Files;

namespace Nibble.Export;

/// <summary>Receives stored values as bytes and keeps them as floats.</summary>
/// <param name="type">The stored type. Each write must hold whole values.</param>
/// <param name="values">Receives the floats.</param>
internal sealed class FloatSink(ElementType type, Memory<float> values) : Stream
{
    private int count;

    /// <inheritdoc/>
    public override bool CanRead => false;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <inheritdoc/>
    public override long Length => (long)values.Length * type.ByteSize();

    /// <inheritdoc/>
    public override long Position
    {
        get => (long)count * type.ByteSize();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        var added = values.Span.Slice(count, buffer.Length / type.ByteSize());
        type.ToSingles(buffer, added);
        count += added.Length;
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();
}
