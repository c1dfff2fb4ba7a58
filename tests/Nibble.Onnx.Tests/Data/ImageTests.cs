using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Data;
using Nibble.Torch.Tests.Shared;
using SkiaSharp;
using static Nibble.Onnx.Tests.Data.DataFiles;

namespace Nibble.Onnx.Tests.Data;

public sealed class ImageTests
{
    [Fact]
    public void APresetCanBeChanged()
    {
        var parsed = ImagePreprocessing.Parse("imagenet,size=32x16,bgr,stretch,scale=1/128,mean=0.5,std=1:2:4,nhwc");

        Assert.Equal((32, 16), parsed.Size);
        Assert.True(parsed.Bgr);
        Assert.Equal(ImageResize.Stretch, parsed.Resize);
        Assert.Equal(1 / 128.0, parsed.Scale);
        Assert.Equal([0.5], parsed.Mean);
        Assert.Equal([1.0, 2, 4], parsed.Deviation);
        Assert.Equal(ImageLayout.ChannelsLast, parsed.Layout);
    }

    [Theory]
    [InlineData("images", "expected one of imagenet, yolo, unit, raw, symmetric")]
    [InlineData("unit,sise=3x3", "known are size=")]
    [InlineData("unit,size=3", "expected width and height")]
    [InlineData("unit,size=0x3", "from 1 to")]
    [InlineData("unit,scale=x", "expected a number")]
    [InlineData("unit,scale=1/0", "expected a number")]
    [InlineData("unit,mean=1:2", "three with colons")]
    [InlineData("unit,std=0", "a deviation is not 0")]
    public void AFaultNamesWhatIsKnown(string text, string part) =>
        Assert.Contains(part, Assert.Throws<NibbleException>(() => ImagePreprocessing.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void ChannelsComeInTheLayoutAndOrderOfTheInput()
    {
        var image = new Pixels(2, 1, [10, 20, 30, 40, 50, 60]);

        Assert.Equal([10f, 40f, 20f, 50f, 30f, 60f], Convert(image, "raw", Input("x", 1, 3, 1, 2)));
        Assert.Equal([30f, 60f, 20f, 50f, 10f, 40f], Convert(image, "raw,bgr", Input("x", null, 3, null, null), "size=2x1"));
        Assert.Equal([10f, 20f, 30f, 40f, 50f, 60f], Convert(image, "raw", Input("x", 1, 1, 2, 3), "nhwc"));
        Assert.Equal([18f, 48f], Convert(image, "raw", Input("x", 1, 1, 1, 2), "nchw"));
    }

    [Fact]
    public void PixelsAreScaledAndNormalized()
    {
        var image = new Pixels(1, 1, [0, 255, 51]);
        var input = Input("x", 1, 3, 1, 1);

        Assert.Equal([-1f, 1f, -0.6f], Convert(image, "symmetric", input, "nchw"));
        Assert.Equal([0f, 1f, 0.2f], Convert(image, "unit", input, "nchw"));
        Assert.Equal([-2.117904f, 2.4285715f, -0.9155556f], Convert(image, "imagenet", input, "nchw"), (a, b) => Math.Abs(a - b) < 1e-5);
    }

    [Fact]
    public void AnInputOfBytesGetsPixels()
    {
        var input = new GraphInput("x", TensorElementType.UInt8, [1, 1, 1, 3]);
        var value = new ImageInput(input, ImagePreprocessing.Parse("raw,nhwc"), "test").Convert(new Pixels(1, 1, [1, 2, 3]), "test");

        Assert.Equal([1, 2, 3], ((DenseTensor<byte>)value.Value).Buffer.ToArray());
        Assert.Contains("Use raw", Refusal(input, "unit,nhwc"), StringComparison.Ordinal);
    }

    [Fact]
    public void ALetterboxIsGrey() => Assert.Equal(
        [114f, 200f, 200f, 114f, 114f, 200f, 200f, 114f],
        Convert(Pixels.Grey(2, 2, [200, 200, 200, 200]), "yolo,scale=1", Input("x", 1, 1, 2, 4), "nchw"));

    [Fact]
    public void ShrinkingAveragesAndGrowingInterpolates()
    {
        var step = Pixels.Grey(4, 1, [0, 0, 100, 100]);

        Assert.Equal([14, 86], ImageResampling.Scale(step, 0, 0, 4, 1, 2, 1).Rgb.Where((_, i) => i % 3 == 0).Select(value => (int)value));
        Assert.Equal([0, 25, 75, 100], ImageResampling.Scale(Pixels.Grey(2, 1, [0, 100]), 0, 0, 2, 1, 4, 1).Rgb.Where((_, i) => i % 3 == 0)
            .Select(value => (int)value));
    }

    [Fact]
    public void CroppingTakesTheMiddle()
    {
        var image = Pixels.Grey(512, 256, [.. Enumerable.Range(0, 512 * 256).Select(i => (byte)(i % 512 / 2))]);
        var row = Convert(image, "imagenet,scale=1,mean=0,std=1", Input("x", 1, 1, 224, 224), "nchw")[..224];

        Assert.Equal(144 / 2, row[0], 1f);
        Assert.Equal((144 + 223) / 2, row[^1], 1f);
    }

    [Fact]
    public void AnInputThatDoesNotSayWhatItNeedsIsRefused()
    {
        Assert.Contains("Add nchw or nhwc", Refusal(Input("x", 1, 3, 8, 3), "unit"), StringComparison.Ordinal);
        Assert.Contains("size=224x224", Refusal(Input("x", 1, 3, null, null), "unit"), StringComparison.Ordinal);
        Assert.Contains("3 means", Refusal(Input("x", 1, 1, 8, 8), "imagenet"), StringComparison.Ordinal);
        Assert.Contains("expected 1 or 3 channels", Refusal(Input("x", 1, 4, 8, 8), "unit,nchw"), StringComparison.Ordinal);
        Assert.Contains("Name the preprocessing: imagenet", Refusal(Input("x", 1, 3, 8, 8), null), StringComparison.Ordinal);
        Assert.Contains("images of 4 x 4 pixels", Refusal(Input("x", 1, 3, 8, 8), "unit,size=4x4"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("png")]
    [InlineData("jpeg")]
    [InlineData("webp")]
    public void AFolderOfClassesIsReadInOrder(string format)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("b"));
        Directory.CreateDirectory(folder.File("a"));
        WriteImage(folder.File($"b/1.{format}"), 200);
        WriteImage(folder.File($"a/2.{format}"), 100);
        folder.Write("a/readme.md", "not an image");
        var source = SampleSource.Open([folder.Path], [Input("x", null, 3, 2, 2)], new SampleOptions { Images = ImagePreprocessing.Parse("raw") });

        Assert.Equal(2, source.Count);
        Assert.Contains("1 other file was not read", source.Description, StringComparison.Ordinal);
        for (var pass = 0; pass < 2; pass++)
        {
            Assert.Equal([100f, 200f], source.Samples().Select(sample => Floats(sample[0])[0]), (expected, found) => Math.Abs(expected - found) < 4);
        }
    }

    [Fact]
    public void ABrokenImageIsNamed()
    {
        using var folder = new TemporaryFolder();
        WriteImage(folder.File("whole.png"), 1);
        foreach (var bytes in new[] { [1, 2, 3], File.ReadAllBytes(folder.File("whole.png"))[..^30], [] })
        {
            var path = WriteBytes(folder.File("broken.png"), bytes);
            Assert.Contains(path, Assert.Throws<NibbleException>(() => ImageFile.Read(path)).Message, StringComparison.Ordinal);
        }
    }

    private static void WriteImage(string path, byte grey)
    {
        using var bitmap = new SKBitmap(4, 4);
        bitmap.Erase(new SKColor(grey, grey, grey));
        using var data = bitmap.Encode(Enum.Parse<SKEncodedImageFormat>(Path.GetExtension(path)[1..], ignoreCase: true), 100);
        File.WriteAllBytes(path, data.ToArray());
    }

    private static float[] Convert(Pixels image, string preset, GraphInput input, string? more = null) => Floats(
        new ImageInput(input, ImagePreprocessing.Parse(more is null ? preset : $"{preset},{more}"), "test").Convert(image, "test"));

    private static string Refusal(GraphInput input, string? preset) => Assert.Throws<NibbleException>(
        () => new ImageInput(input, preset is null ? null : ImagePreprocessing.Parse(preset), "test")).Message;
}
