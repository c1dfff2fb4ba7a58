using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>Makes tensors of images for an input.</summary>
internal sealed class ImageInput
{
    private const byte LetterboxGrey = 114;

    private readonly GraphInput input;
    private readonly ImagePreprocessing preprocessing;
    private readonly TensorKind kind;
    private readonly bool isChannelsLast;
    private readonly int channels;
    private readonly int width;
    private readonly int height;
    private readonly int[] sizes;
    private readonly float[][] values;

    /// <summary>Finds out what the input expects.</summary>
    /// <param name="input">The input.</param>
    /// <param name="preprocessing">How images become tensors. Null only for an input of bytes, which get the pixels.</param>
    /// <param name="place">The images, for messages.</param>
    /// <exception cref="NibbleException">The input is not one of images, or something about it is not said.</exception>
    public ImageInput(GraphInput input, ImagePreprocessing? preprocessing, string place)
    {
        (this.input, kind) = (input, TensorKind.Of(input));
        var isBytes = kind is TensorKind<byte>;
        this.preprocessing = preprocessing ??= isBytes ? new ImagePreprocessing() : throw new NibbleException($"{place}: input '{input.Name}' is {input.Text}, "
            + $"and it is not said how images become its values. Name the preprocessing: {string.Join(", ", ImagePreprocessing.PresetNames)}");
        if (!kind.IsFloat && !isBytes)
        {
            throw new NibbleException($"{place}: images are floats or bytes, and input '{input.Name}' is {input.Text}");
        }

        if (isBytes && !preprocessing.KeepsValues)
        {
            throw new NibbleException($"{place}: input '{input.Name}' is {input.Text}, and the preprocessing gives fractions. Use raw");
        }

        if (input.Shape.Count is not (3 or 4) || (input.Shape.Count == 4 && input.Shape[0] is not (null or 1)))
        {
            throw new NibbleException($"{place}: input '{input.Name}' is {input.Text}, and images have the sizes [1, channels, height, width] or "
                + "[1, height, width, channels]");
        }

        var image = input.Shape.Skip(input.Shape.Count - 3).ToList();
        isChannelsLast = IsChannelsLast(image, place);
        channels = (int)((isChannelsLast ? image[2] : image[0]) ?? Pixels.Channels);
        (height, width) = Size(isChannelsLast ? (image[0], image[1]) : (image[1], image[2]), place);
        int[] three = isChannelsLast ? [height, width, channels] : [channels, height, width];
        sizes = input.Fit(input.Shape.Count == 4 ? [1, .. three] : [.. three], place);
        values = [.. Enumerable.Range(0, channels).Select(channel => Values(channel, place))];
    }

    /// <summary>Makes the tensor of an image.</summary>
    /// <param name="image">The image.</param>
    /// <param name="place">The image, for messages.</param>
    public NamedOnnxValue Convert(Pixels image, string place)
    {
        var pixels = Resize(image).Rgb;
        var (area, count) = (width * height, width * height * channels);
        if (kind is TensorKind<byte>)
        {
            var bytes = new byte[count];
            for (var i = 0; i < count; i++)
            {
                bytes[i] = Pixel(pixels, PixelOf(i, area), ChannelOf(i, area));
            }

            return TensorKind<byte>.Create(input.Name, sizes, bytes);
        }

        if (kind is TensorKind<float>)
        {
            var floats = new float[count];
            for (var i = 0; i < count; i++)
            {
                floats[i] = values[ChannelOf(i, area)][Pixel(pixels, PixelOf(i, area), ChannelOf(i, area))];
            }

            return TensorKind<float>.Create(input.Name, sizes, floats);
        }

        var numbers = new double[count];
        for (var i = 0; i < count; i++)
        {
            numbers[i] = values[ChannelOf(i, area)][Pixel(pixels, PixelOf(i, area), ChannelOf(i, area))];
        }

        return kind.Create(input.Name, sizes, new ReadNumbers(numbers), place);
    }

    private int PixelOf(int index, int area) => isChannelsLast ? index / channels : index % area;

    private int ChannelOf(int index, int area) => isChannelsLast ? index % channels : index / area;

    /// <summary>A value of a pixel. The weights of luma are those of ITU-R BT.601, in 65536ths as Pillow has them.</summary>
    private byte Pixel(byte[] rgb, int pixel, int channel)
    {
        var at = pixel * Pixels.Channels;
        return channels == 1 ? (byte)(((19595 * rgb[at]) + (38470 * rgb[at + 1]) + (7471 * rgb[at + 2]) + 32768) >> 16)
            : rgb[at + (preprocessing.Bgr ? 2 - channel : channel)];
    }

    private Pixels Resize(Pixels image)
    {
        switch (preprocessing.Resize)
        {
            case ImageResize.Crop:
                const double margin = 256.0 / 224;
                var cover = Math.Max(width * margin / image.Width, height * margin / image.Height);
                var (cutWidth, cutHeight) = (width / cover, height / cover);
                return ImageResampling.Scale(
                    image, (image.Width - cutWidth) / 2, (image.Height - cutHeight) / 2, cutWidth, cutHeight, width, height);
            case ImageResize.Letterbox:
                var fit = Math.Min((double)width / image.Width, (double)height / image.Height);
                return Framed(ImageResampling.Scale(
                    image, 0, 0, image.Width, image.Height, Scaled(image.Width, fit, width), Scaled(image.Height, fit, height)));
            default:
                return ImageResampling.Scale(image, 0, 0, image.Width, image.Height, width, height);
        }

        static int Scaled(int length, double factor, int most) => Math.Clamp((int)Math.Round(length * factor), 1, most);
    }

    private Pixels Framed(Pixels image)
    {
        var result = new byte[width * height * Pixels.Channels];
        Array.Fill(result, LetterboxGrey);
        var (left, top, row) = ((width - image.Width) / 2, (height - image.Height) / 2, image.Width * Pixels.Channels);
        for (var y = 0; y < image.Height; y++)
        {
            image.Rgb.AsSpan(y * row, row).CopyTo(result.AsSpan((((top + y) * width) + left) * Pixels.Channels));
        }

        return new Pixels(width, height, result);
    }

    private bool IsChannelsLast(List<long?> image, string place)
    {
        var (first, last) = (image[0] is 1 or 3, image[2] is 1 or 3);
        var isLast = preprocessing.Layout is { } layout ? layout == ImageLayout.ChannelsLast
            : first != last ? last
            : throw new NibbleException($"{place}: input '{input.Name}' is {input.Text}, and its shape does not show which axis has the channels. Add nchw or "
                + "nhwc to the preprocessing");
        return (isLast ? image[2] : image[0]) is null or 1 or 3 ? isLast
            : throw new NibbleException($"{place}: input '{input.Name}' is {input.Text}, expected 1 or 3 channels");
    }

    private (int Height, int Width) Size((long? Height, long? Width) image, string place)
    {
        if (preprocessing.Size is { } said && ((image.Height ?? said.Height) != said.Height || (image.Width ?? said.Width) != said.Width))
        {
            throw new NibbleException($"{place}: the preprocessing gives images of {said.Width} x {said.Height} pixels, and input "
                + $"'{input.Name}' is {input.Text}");
        }

        return (preprocessing.Size?.Height ?? Fixed(image.Height), preprocessing.Size?.Width ?? Fixed(image.Width));

        int Fixed(long? size) => size is > 0 and <= TensorKind.MostElements ? (int)size
            : throw new NibbleException($"{place}: input '{input.Name}' is {input.Text}, which does not decide the size of images. Add a size such as "
                + "size=224x224 to the preprocessing");
    }

    /// <summary>What each pixel becomes.</summary>
    private float[] Values(int channel, string place)
    {
        var (mean, deviation) = (Of(preprocessing.Mean, "means"), Of(preprocessing.Deviation, "deviations"));
        return [.. Enumerable.Range(0, 256).Select(pixel => (float)(((pixel * preprocessing.Scale) - mean) / deviation))];

        double Of(IReadOnlyList<double> list, string what) => list.Count == 1 ? list[0]
            : list.Count == channels ? list[channel]
            : throw new NibbleException($"{place}: the preprocessing has {list.Count} {what}, and input '{input.Name}' has {channels} "
                + $"{(channels == 1 ? "channel" : "channels")}; expected 1 or {channels}, for example mean=0.5,std=0.5");
    }
}
