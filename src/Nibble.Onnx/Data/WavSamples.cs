using Nibble.Files;

namespace Nibble.Onnx.Data;

/// <summary>The values of a <c>.wav</c> file in pieces of the length that the input has. The last piece is filled with zeros.</summary>
internal sealed class WavSamples : IFileSamples
{
    private readonly string place;
    private readonly Func<Stream> open;
    private readonly GraphInput input;
    private readonly int[] sizes;

    /// <summary>A file from anywhere.</summary>
    /// <param name="place">The file, for messages.</param>
    /// <param name="open">Opens a stream that can seek.</param>
    /// <param name="wanted">The inputs that need data: one, whose last size is the length of a piece and whose other sizes are 1.</param>
    /// <param name="rate">The values per second that the file must have. Null for any.</param>
    /// <exception cref="NibbleException">The file is broken, has another rate, or does not fit the input.</exception>
    internal WavSamples(string place, Func<Stream> open, IReadOnlyList<GraphInput> wanted, int? rate)
    {
        (this.place, this.open, input) = (place, open, GraphInputs.Only(wanted, place));
        sizes = input.FixedSizes("recordings");
        if (sizes.Length == 0 || sizes[..^1].Any(size => size != 1) || !TensorKind.Of(input).IsFloat)
        {
            throw new NibbleException($"{place}: input '{input.Name}' is {input.Text}, expected floats whose last axis is the length of a piece and whose "
                + "other sizes are 1");
        }

        using var stream = open();
        Format = WavFile.Read(stream, place);
        if (rate is { } expected && expected != Format.Rate)
        {
            throw new NibbleException($"{place} has {Format.Rate} values per second, expected {expected}; convert it, for example with ffmpeg -i in.wav "
                + $"-ar {expected} out.wav");
        }
    }

    /// <inheritdoc/>
    public long? Count => (Format.Frames + sizes[^1] - 1) / sizes[^1];

    /// <inheritdoc/>
    public string Description => $"{Count} pieces of {sizes[^1]} values of {place}"
        + (Format.Frames % sizes[^1] == 0 ? "" : ", the last one filled with zeros");

    /// <summary>The format of the file.</summary>
    public WavFile Format { get; }

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="wanted">The inputs that need data.</param>
    /// <param name="rate">The values per second that the file must have. Null for any.</param>
    /// <exception cref="NibbleException">The file is broken, has another rate, or does not fit the input.</exception>
    public static WavSamples Open(string path, IReadOnlyList<GraphInput> wanted, int? rate)
    {
        InputFile.RequireRegular(path);
        return new WavSamples(path, () => File.OpenRead(path), wanted, rate);
    }

    /// <inheritdoc/>
    public IEnumerable<PlacedSample> Read()
    {
        using var stream = open();
        stream.Position = Format.Start;
        var length = sizes[^1];
        for (long at = 0; at < Format.Frames; at += length)
        {
            var origin = $"{place}, value {at}";
            var values = new double[length];
            Format.ReadValues(stream, values.AsSpan(0, (int)Math.Min(length, Format.Frames - at)), origin);
            yield return new PlacedSample([TensorKind.Of(input).Create(input.Name, sizes, new ReadNumbers(values), origin)], origin);
        }
    }
}
