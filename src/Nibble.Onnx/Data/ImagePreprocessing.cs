using System.Globalization;

namespace Nibble.Onnx.Data;

/// <summary>How an image gets the size of an input.</summary>
internal enum ImageResize
{
    /// <summary>Width and height are scaled separately.</summary>
    Stretch,

    /// <summary>The image is scaled until it covers 256/224 of the size, and the middle is cut out.</summary>
    Crop,

    /// <summary>The image is scaled until it fits in, and grey (114) is put around it.</summary>
    Letterbox,
}

/// <summary>The order of the axes of an input.</summary>
internal enum ImageLayout
{
    /// <summary>Channels, rows, columns.</summary>
    ChannelsFirst,

    /// <summary>Rows, columns, channels.</summary>
    ChannelsLast,
}

/// <summary>How images become tensors: each value is (pixel * scale - mean) / deviation, with pixels from 0 to 255.</summary>
internal sealed record ImagePreprocessing
{
    private const string Keys = "size=WIDTHxHEIGHT, stretch, crop, letterbox, rgb, bgr, nchw, nhwc, scale=NUMBER, mean=NUMBER:NUMBER:NUMBER and "
        + "std=NUMBER:NUMBER:NUMBER";

    private static readonly Dictionary<string, ImagePreprocessing> Presets = new(StringComparer.Ordinal)
    {
        ["imagenet"] = new()
        {
            Resize = ImageResize.Crop,
            Scale = 1 / 255.0,
            Mean = [0.485, 0.456, 0.406],
            Deviation = [0.229, 0.224, 0.225],
        },
        ["yolo"] = new() { Resize = ImageResize.Letterbox, Scale = 1 / 255.0 },
        ["unit"] = new() { Scale = 1 / 255.0 },
        ["raw"] = new(),
        ["symmetric"] = new() { Mean = [127.5], Deviation = [127.5] },
    };

    /// <summary>The names of the presets.</summary>
    public static IEnumerable<string> PresetNames => Presets.Keys;

    /// <summary>The size that images get. Null for that of the input.</summary>
    public (int Width, int Height)? Size { get; init; }

    /// <summary>How images get the size.</summary>
    public ImageResize Resize { get; init; }

    /// <summary>Whether blue comes first.</summary>
    public bool Bgr { get; init; }

    /// <summary>The order of the axes. Null if the shape of the input shows it.</summary>
    public ImageLayout? Layout { get; init; }

    /// <summary>What pixels are multiplied with.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>What is subtracted: one value, or one per channel in the order of the input.</summary>
    public IReadOnlyList<double> Mean { get; init; } = [0];

    /// <summary>What is divided by: one value, or one per channel in the order of the input.</summary>
    public IReadOnlyList<double> Deviation { get; init; } = [1];

    /// <summary>Whether pixels keep their values.</summary>
    public bool KeepsValues => Scale == 1 && Mean.All(mean => mean == 0) && Deviation.All(deviation => deviation == 1);

    /// <summary>Parses the name of a preset and what differs from it, such as <c>imagenet,size=32x32,bgr</c>.</summary>
    /// <exception cref="NibbleException">The text is something else. The message says what is known.</exception>
    public static ImagePreprocessing Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var parts = text.Split(',');
        if (!Presets.TryGetValue(parts[0], out var result))
        {
            throw new NibbleException($"Preprocessing '{text}': '{parts[0]}' is not known, expected one of {string.Join(", ", PresetNames)}, which {Keys} can "
                + "follow after commas");
        }

        foreach (var part in parts.Skip(1))
        {
            result = result.With(part, text);
        }

        return result;
    }

    private ImagePreprocessing With(string part, string text)
    {
        return part.Split('=') switch
        {
            ["stretch"] => this with { Resize = ImageResize.Stretch },
            ["crop"] => this with { Resize = ImageResize.Crop },
            ["letterbox"] => this with { Resize = ImageResize.Letterbox },
            ["rgb"] => this with { Bgr = false },
            ["bgr"] => this with { Bgr = true },
            ["nchw"] => this with { Layout = ImageLayout.ChannelsFirst },
            ["nhwc"] => this with { Layout = ImageLayout.ChannelsLast },
            ["size", var value] => this with { Size = ParseSize(value) },
            ["scale", var value] => this with { Scale = Number(value) },
            ["mean", var value] => this with { Mean = List(value) },
            ["std", var value] => this with { Deviation = List(value) is var list && !list.Contains(0) ? list : throw Fault("a deviation is not 0") },
            _ => throw Fault($"known are {Keys}"),
        };

        NibbleException Fault(string expected) => new($"Preprocessing '{text}': '{part}' cannot be used; {expected}");

        double Number(string value)
        {
            var parts = value.Split('/');
            var numbers = parts.Select(number => double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture, out var parsed)
                && double.IsFinite(parsed) ? parsed : throw Fault("expected a number such as 0.5 or 1/255")).ToList();
            return numbers is [var only] ? only
                : numbers is [var above, var below and not 0] ? above / below
                : throw Fault("expected a number such as 0.5 or 1/255");
        }

        double[] List(string value) => value.Split(':') is { Length: 1 or 3 } numbers ? Array.ConvertAll(numbers, Number)
            : throw Fault("expected one number, or three with colons between them");

        (int Width, int Height) ParseSize(string value) => value.Split('x') is [var width, var height] ? (Length(width), Length(height))
            : throw Fault("expected width and height, such as 224x224");

        int Length(string value) => int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var parsed) && parsed is > 0 and <= 1 << 14
            ? parsed : throw Fault($"expected a width and a height from 1 to {1 << 14}, such as 224x224");
    }
}
