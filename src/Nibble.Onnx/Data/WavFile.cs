using System.Buffers.Binary;

namespace Nibble.Onnx.Data;

/// <summary>The format and the place of the values of a <c>.wav</c> file: PCM of 8, 16, 24 or 32 bits, or 32-bit floats.</summary>
/// <param name="Rate">The values per second and channel.</param>
/// <param name="Channels">The number of channels.</param>
/// <param name="Bits">The bits per value.</param>
/// <param name="IsFloat">Whether the values are floats.</param>
/// <param name="Start">The offset of the first value.</param>
/// <param name="Frames">The number of values per channel.</param>
internal sealed record WavFile(int Rate, int Channels, int Bits, bool IsFloat, long Start, long Frames)
{
    private const int MostChannels = 64;

    /// <summary>Reads the header of a file.</summary>
    /// <param name="stream">The file, which can seek.</param>
    /// <param name="place">The file, for messages.</param>
    /// <exception cref="NibbleException">It is no .wav file, is damaged, or is compressed.</exception>
    public static WavFile Read(Stream stream, string place)
    {
        Span<byte> head = stackalloc byte[12];
        NpyHeader.ReadExactly(stream, head, place);
        if (!head.StartsWith("RIFF"u8) || !head[8..].SequenceEqual("WAVE"u8))
        {
            throw new NibbleException($"{place} does not begin like a .wav file");
        }

        WavFile? format = null;
        Span<byte> chunk = stackalloc byte[8];
        while (stream.Length - stream.Position >= chunk.Length)
        {
            NpyHeader.ReadExactly(stream, chunk, place);
            long length = BinaryPrimitives.ReadUInt32LittleEndian(chunk[4..]);
            if (length > stream.Length - stream.Position)
            {
                throw new NibbleException($"{place}: a part of {length} bytes at offset {stream.Position - chunk.Length}, and "
                    + $"{stream.Length - stream.Position} bytes are left; the file is damaged, or its recording was not finished");
            }

            if (chunk.StartsWith("data"u8))
            {
                return format is null ? throw new NibbleException($"{place}: the values come before their format")
                    : format.WithData(stream.Position, length, place);
            }

            var next = stream.Position + length + (length & 1);
            if (chunk.StartsWith("fmt "u8))
            {
                format = format is null ? ReadFormat(stream, length, place) : throw new NibbleException($"{place} has two formats");
            }

            stream.Position = Math.Min(next, stream.Length);
        }

        throw new NibbleException($"{place} has no values; the file is damaged: copy it again");
    }

    /// <summary>Reads values from -1 to 1, the mean of the channels.</summary>
    /// <param name="stream">The file, at a value of the first channel.</param>
    /// <param name="values">Takes the values.</param>
    /// <param name="place">The file, for messages.</param>
    /// <exception cref="NibbleException">The file ends before.</exception>
    public void ReadValues(Stream stream, Span<double> values, string place)
    {
        var size = Bits / 8;
        var frame = new byte[size * Channels];
        for (var i = 0; i < values.Length; i++)
        {
            NpyHeader.ReadExactly(stream, frame, place);
            var sum = 0.0;
            for (var channel = 0; channel < Channels; channel++)
            {
                sum += Value(frame.AsSpan(channel * size, size));
            }

            values[i] = sum / Channels;
        }
    }

    private double Value(ReadOnlySpan<byte> bytes) => Bits switch
    {
        8 => (bytes[0] - 128) / 128.0,
        16 => BinaryPrimitives.ReadInt16LittleEndian(bytes) / 32768.0,
        24 => ((bytes[0] << 8) | (bytes[1] << 16) | (bytes[2] << 24)) / 2147483648.0,
        _ => IsFloat ? BinaryPrimitives.ReadSingleLittleEndian(bytes) : BinaryPrimitives.ReadInt32LittleEndian(bytes) / 2147483648.0,
    };

    private static WavFile ReadFormat(Stream stream, long length, string place)
    {
        const int plain = 16;
        const int extended = 26;
        const int extensible = 0xFFFE;
        Span<byte> format = stackalloc byte[(int)Math.Min(length, extended)];
        NpyHeader.ReadExactly(stream, format, place);
        if (format.Length < plain)
        {
            throw new NibbleException($"{place}: a format of {length} bytes, expected at least {plain}");
        }

        int code = BinaryPrimitives.ReadUInt16LittleEndian(format);
        code = code == extensible && format.Length == extended ? BinaryPrimitives.ReadUInt16LittleEndian(format[24..]) : code;
        var (channels, rate) = (BinaryPrimitives.ReadUInt16LittleEndian(format[2..]), BinaryPrimitives.ReadUInt32LittleEndian(format[4..]));
        var (block, bits) = (BinaryPrimitives.ReadUInt16LittleEndian(format[12..]), BinaryPrimitives.ReadUInt16LittleEndian(format[14..]));
        if (!(code == 1 && bits is 8 or 16 or 24 or 32) && !(code == 3 && bits == 32))
        {
            throw new NibbleException($"{place}: format {code} with {bits} bits, expected PCM (1) with 8, 16, 24 or 32 bits or floats (3) with 32; convert it, "
                + "for example with ffmpeg -i in.wav -c:a pcm_s16le out.wav");
        }

        return channels is 0 or > MostChannels || rate is 0 or > int.MaxValue || block != channels * (bits / 8)
            ? throw new NibbleException($"{place}: {channels} channels with {rate} values per second and blocks of {block} bytes; the file is damaged")
            : new WavFile((int)rate, channels, bits, code == 3, 0, 0);
    }

    private WavFile WithData(long start, long length, string place)
    {
        var block = Channels * (Bits / 8);
        return length > 0 && length % block == 0 ? this with { Start = start, Frames = length / block }
            : throw new NibbleException($"{place}: {length} bytes of values, expected a multiple of {block} that is not 0");
    }
}
