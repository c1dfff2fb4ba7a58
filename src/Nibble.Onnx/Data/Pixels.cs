namespace Nibble.Onnx.Data;

/// <summary>A decoded image.</summary>
/// <param name="Width">Pixels per row.</param>
/// <param name="Height">The number of rows.</param>
/// <param name="Rgb">Red, green and blue of each pixel, in row-major order.</param>
internal sealed record Pixels(int Width, int Height, byte[] Rgb)
{
    /// <summary>The bytes per pixel.</summary>
    public const int Channels = 3;

    /// <summary>An image without colours.</summary>
    /// <param name="width">Pixels per row.</param>
    /// <param name="height">The number of rows.</param>
    /// <param name="grey">The pixels in row-major order.</param>
    public static Pixels Grey(int width, int height, ReadOnlySpan<byte> grey)
    {
        var rgb = new byte[grey.Length * Channels];
        for (var i = 0; i < rgb.Length; i++)
        {
            rgb[i] = grey[i / Channels];
        }

        return new Pixels(width, height, rgb);
    }

    /// <summary>An image whose channels are stored one after the other.</summary>
    /// <param name="width">Pixels per row.</param>
    /// <param name="height">The number of rows.</param>
    /// <param name="planes">All of red, then all of green, then all of blue.</param>
    public static Pixels Planar(int width, int height, ReadOnlySpan<byte> planes)
    {
        var rgb = new byte[planes.Length];
        for (var i = 0; i < rgb.Length; i++)
        {
            rgb[i] = planes[((i % Channels) * width * height) + (i / Channels)];
        }

        return new Pixels(width, height, rgb);
    }
}
