namespace Nibble.Onnx.Data;

/// <summary>Scales images with a triangle filter that widens when an image shrinks, as Pillow's BILINEAR does.</summary>
internal static class ImageResampling
{
    /// <summary>Scales a rectangle of an image.</summary>
    /// <param name="image">The image.</param>
    /// <param name="left">The left edge of the rectangle, in pixels.</param>
    /// <param name="top">The top edge.</param>
    /// <param name="width">The width of the rectangle, inside the image.</param>
    /// <param name="height">The height of the rectangle, inside the image.</param>
    /// <param name="newWidth">The width of the result.</param>
    /// <param name="newHeight">The height of the result.</param>
    public static Pixels Scale(Pixels image, double left, double top, double width, double height, int newWidth, int newHeight)
    {
        if ((left, top, width, height) == (0, 0, newWidth, newHeight) && (newWidth, newHeight) == (image.Width, image.Height))
        {
            return image;
        }

        const int channels = Pixels.Channels;
        var columns = Weights(left, width, newWidth, image.Width);
        var rows = Weights(top, height, newHeight, image.Height);
        var (first, end) = (rows.Min(row => row.First), rows.Max(row => row.First + row.Values.Length));
        var scaled = new float[end - first][];
        var result = new byte[newWidth * newHeight * channels];
        for (var y = 0; y < newHeight; y++)
        {
            var (start, weights) = rows[y];
            for (var i = 0; i < weights.Length; i++)
            {
                scaled[start + i - first] ??= ScaleRow(image, start + i, columns);
            }

            // Rows above are not needed again.
            if (start > first)
            {
                Array.Clear(scaled, 0, Math.Max(0, start - first - 1));
            }

            for (var x = 0; x < newWidth * channels; x++)
            {
                var sum = 0f;
                for (var i = 0; i < weights.Length; i++)
                {
                    sum += weights[i] * scaled[start + i - first][x];
                }

                result[(y * newWidth * channels) + x] = (byte)Math.Clamp(MathF.Round(sum), 0, byte.MaxValue);
            }
        }

        return new Pixels(newWidth, newHeight, result);
    }

    private static float[] ScaleRow(Pixels image, int row, (int First, float[] Values)[] columns)
    {
        const int channels = Pixels.Channels;
        var source = image.Rgb.AsSpan(row * image.Width * channels, image.Width * channels);
        var result = new float[columns.Length * channels];
        for (var x = 0; x < columns.Length; x++)
        {
            var (first, weights) = columns[x];
            for (var i = 0; i < weights.Length; i++)
            {
                for (var channel = 0; channel < channels; channel++)
                {
                    result[(x * channels) + channel] += weights[i] * source[((first + i) * channels) + channel];
                }
            }
        }

        return result;
    }

    /// <summary>The weights of the pixels around each new one, which add up to 1.</summary>
    private static (int First, float[] Values)[] Weights(double start, double length, int newLength, int available)
    {
        var scale = length / newLength;
        var support = Math.Max(scale, 1);
        var result = new (int, float[])[newLength];
        for (var i = 0; i < newLength; i++)
        {
            var center = start + ((i + 0.5) * scale);
            var first = Math.Clamp((int)(center - support + 0.5), 0, available - 1);
            var end = Math.Clamp((int)(center + support + 0.5), first + 1, available);
            var weights = Enumerable.Range(first, end - first).Select(at => Math.Max(0, 1 - Math.Abs((at + 0.5 - center) / support))).ToArray();
            var sum = weights.Sum();
            result[i] = (first, Array.ConvertAll(weights, weight => (float)(sum > 0 ? weight / sum : 1.0 / weights.Length)));
        }

        return result;
    }
}
