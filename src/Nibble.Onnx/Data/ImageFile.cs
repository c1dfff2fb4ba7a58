using Nibble.Files;
using SkiaSharp;

namespace Nibble.Onnx.Data;

/// <summary>Decodes images with Skia.</summary>
internal static class ImageFile
{
    private const long MostPixels = 1 << 27;

    /// <summary>The ends of the names of images.</summary>
    public static IReadOnlyList<string> Extensions { get; } = [".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"];

    /// <summary>Whether a file has the name of an image.</summary>
    public static bool IsImage(string path) => Extensions.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase);

    /// <summary>Decodes a file: upright, without transparency and without a conversion of colours. Of an animation, the first image.</summary>
    /// <exception cref="NibbleException">The file is not an image, is damaged or is too large.</exception>
    /// <exception cref="NativeLibraryException">Skia cannot be loaded.</exception>
    public static Pixels Read(string path)
    {
        InputFile.RequireRegular(path);
        try
        {
            return Decode(path);
        }
        catch (Exception exception) when (
            exception is TypeInitializationException or DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            var cause = exception is TypeInitializationException { InnerException: { } inner } ? inner : exception;
            throw new NativeLibraryException($"Skia's native library cannot be loaded: {cause.Message.Trim()} Reference the package SkiaSharp.NativeAssets of "
                + "the system in the application, for example SkiaSharp.NativeAssets.Linux.NoDependencies.", exception);
        }
    }

    private static Pixels Decode(string path)
    {
        using var data = SKData.CreateCopy(File.ReadAllBytes(path));
        using var codec = SKCodec.Create(data) ?? throw new NibbleException($"{path} is not an image that can be decoded, expected one of "
            + $"{string.Join(", ", Extensions)}; the file is damaged, or is something else than its name says");
        var (width, height) = (codec.Info.Width, codec.Info.Height);
        if ((long)width * height > MostPixels)
        {
            throw new NibbleException($"{path} has {width} x {height} pixels, expected at most {MostPixels}; make it smaller");
        }

        var rgba = new byte[4 * width * height];
        var result = codec.GetPixels(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul), rgba);
        return result == SKCodecResult.Success ? Upright(width, height, rgba, codec.EncodedOrigin)
            : throw new NibbleException($"{path} cannot be decoded ({result}); the image is damaged: copy it again");
    }

    /// <summary>Turns an image as its camera was held.</summary>
    private static Pixels Upright(int width, int height, byte[] rgba, SKEncodedOrigin origin)
    {
        var isTurned = origin is SKEncodedOrigin.LeftTop or SKEncodedOrigin.RightTop or SKEncodedOrigin.RightBottom or SKEncodedOrigin.LeftBottom;
        var (newWidth, newHeight) = isTurned ? (height, width) : (width, height);
        var rgb = new byte[Pixels.Channels * width * height];
        for (var y = 0; y < newHeight; y++)
        {
            for (var x = 0; x < newWidth; x++)
            {
                var (fromX, fromY) = origin switch
                {
                    SKEncodedOrigin.TopRight => (width - 1 - x, y),
                    SKEncodedOrigin.BottomRight => (width - 1 - x, height - 1 - y),
                    SKEncodedOrigin.BottomLeft => (x, height - 1 - y),
                    SKEncodedOrigin.LeftTop => (y, x),
                    SKEncodedOrigin.RightTop => (y, height - 1 - x),
                    SKEncodedOrigin.RightBottom => (width - 1 - y, height - 1 - x),
                    SKEncodedOrigin.LeftBottom => (width - 1 - y, x),
                    _ => (x, y),
                };
                rgba.AsSpan(4 * ((fromY * width) + fromX), Pixels.Channels).CopyTo(rgb.AsSpan(Pixels.Channels * ((y * newWidth) + x)));
            }
        }

        return new Pixels(newWidth, newHeight, rgb);
    }
}
