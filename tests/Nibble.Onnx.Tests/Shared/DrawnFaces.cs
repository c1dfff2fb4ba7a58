using SkiaSharp;

namespace Nibble.Onnx.Tests.Shared;

/// <summary>Drawings of one to three faces that detectors of real faces find.</summary>
internal static class DrawnFaces
{
    /// <summary>A picture, the same for the same seed.</summary>
    public static SKBitmap Draw(int seed, int width, int height)
    {
        var random = new Random(seed);
        using var bitmap = new SKBitmap(width, height);
        using var canvas = new SKCanvas(bitmap);
        using var paint = new SKPaint { IsAntialias = true };
        using (var background = SKShader.CreateLinearGradient(new SKPoint(0, 0), new SKPoint(width, height), [Colour(), Colour()], SKShaderTileMode.Clamp))
        {
            paint.Shader = background;
            canvas.DrawRect(0, 0, width, height, paint);
            paint.Shader = null;
        }

        var faces = 1 + random.Next(3);
        for (var i = 0; i < faces; i++)
        {
            DrawFace(canvas, paint, width * (i + 0.5f) / faces, (height / 2f) + random.Next(-20, 20), random.Next(25, 60));
        }

        using var blur = SKImageFilter.CreateBlur(1.2f, 1.2f);
        using var soft = new SKPaint { ImageFilter = blur };
        var result = new SKBitmap(width, height);
        using var second = new SKCanvas(result);
        second.DrawBitmap(bitmap, 0, 0, soft);
        return result;

        SKColor Colour() => new((byte)random.Next(60, 200), (byte)random.Next(60, 200), (byte)random.Next(60, 200));
    }

    private static void DrawFace(SKCanvas canvas, SKPaint paint, float x, float y, float size)
    {
        Oval(40, 50, 90, 0, 2.6f, 1.9f, 1.3f);
        Oval(205, 155, 130, 0, 1.25f, 0.4f, 0.5f);
        Oval(45, 30, 22, 0, -0.25f, 1.05f, 1.25f);
        using (var skin = SKShader.CreateRadialGradient(
            new SKPoint(x - (0.2f * size), y - (0.1f * size)), 1.4f * size, [new SKColor(236, 196, 170), new SKColor(188, 135, 108)], SKShaderTileMode.Clamp))
        {
            paint.Shader = skin;
            canvas.DrawOval(x, y + (0.1f * size), 0.82f * size, 1.1f * size, paint);
            paint.Shader = null;
        }

        foreach (var side in (float[])[-0.36f, 0.36f])
        {
            Oval(60, 40, 30, side, -0.3f, 0.24f, 0.05f);
            Oval(150, 105, 85, side, -0.06f, 0.25f, 0.15f);
            Oval(255, 255, 255, side, -0.05f, 0.19f, 0.1f);
            Oval(50, 35, 25, side, -0.05f, 0.1f, 0.1f);
            Oval(110, 60, 55, side / 5, 0.4f, 0.04f, 0.03f);
        }

        Oval(222, 178, 152, 0, 0.2f, 0.08f, 0.22f);
        Oval(165, 80, 80, 0, 0.68f, 0.32f, 0.1f);
        Oval(120, 45, 50, 0, 0.68f, 0.28f, 0.02f);

        void Oval(byte red, byte green, byte blue, float right, float down, float width, float height)
        {
            paint.Color = new SKColor(red, green, blue);
            canvas.DrawOval(x + (right * size), y + (down * size), width * size, height * size, paint);
        }
    }
}
