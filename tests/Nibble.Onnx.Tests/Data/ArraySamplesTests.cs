using System.Text;
using Nibble.Onnx.Data;
using Nibble.Tests.Shared;
using static Nibble.Onnx.Tests.Data.DataFiles;

namespace Nibble.Onnx.Tests.Data;

public sealed class ArraySamplesTests
{
    private static readonly byte[] SixFloats = Bytes(1f, 2f, 3f, 4f, 5f, 6f);

    [Fact]
    public void AnArrayWithTheAxesOfItsInputIsCutAlongTheFirst()
    {
        var samples = Read(Npy("<f4", "(3, 2)", SixFloats), Input("x", null, 2));

        Assert.Equal([[1f, 2f], [3f, 4f], [5f, 6f]], samples.Select(sample => Floats(sample.Values[0])));
        Assert.All(samples, sample => Assert.Equal([1, 2], Shape(sample.Values[0])));
    }

    [Fact]
    public void AnArrayWithOneMoreAxisHoldsASamplePerRow()
    {
        var samples = Read(Npy("<f4", "(3, 1, 2)", SixFloats), Input("x", null, 2));

        Assert.Equal(3, samples.Count);
        Assert.Equal([5f, 6f], Floats(samples[2].Values[0]));
    }

    [Fact]
    public void AnArrayWithoutTheBatchAxisIsOneSample()
    {
        var sample = Assert.Single(Read(Npy("<f4", "(3, 2)", SixFloats), Input("x", 1, 3, 2)));

        Assert.Equal([1, 3, 2], Shape(sample.Values[0]));
    }

    [Fact]
    public void AFixedBatchTakesThatManyRows()
    {
        Assert.Equal([3, 2], Shape(Assert.Single(Read(Npy("<f4", "(3, 2)", SixFloats), Input("x", 3, 2))).Values[0]));
        Assert.Contains("multiple of 2", Refusal(Npy("<f4", "(3, 2)", SixFloats), Input("x", 2, 2)), StringComparison.Ordinal);
    }

    [Fact]
    public void OtherTypesBecomeThatOfTheInput()
    {
        Assert.Equal([255f, 7f], Floats(Read(Npy("|u1", "(1, 2)", [255, 7]), Input("x", 1, 2))[0].Values[0]));
        Assert.Equal([1.5f], Floats(Read(Npy("<f8", "(1,)", BitConverter.GetBytes(1.5)), Input("x", 1))[0].Values[0]));
        Assert.Equal([-1.5f], Floats(Read(Npy("<f2", "(1,)", BitConverter.GetBytes((Half)(-1.5))), Input("x", 1))[0].Values[0]));
        Assert.Equal([-3L], Longs(Read(Npy("<i2", "(1,)", BitConverter.GetBytes((short)-3)), Integers("x", 1))[0].Values[0]));
    }

    [Fact]
    public void AnArchiveHasAnArrayPerInput()
    {
        var npz = Npz(("x", Npy("<f4", "(3, 2)", SixFloats)), ("n", Npy("<i8", "(3,)", Bytes(7L, 8L, 9L))));
        var samples = ArraySamples.Open("a.npz", () => new MemoryStream(npz), true, [Input("x", null, 2), Integers("n")]).Read().ToList();

        Assert.Equal(3, samples.Count);
        Assert.Equal([3f, 4f], Floats(samples[1].Values[0]));
        Assert.Equal([8L], Longs(samples[1].Values[1]));
        Assert.Empty(Shape(samples[1].Values[1]));
    }

    [Fact]
    public void AnArchiveThatDoesNotFitIsRefused()
    {
        var x = ("x", Npy("<f4", "(3, 2)", SixFloats));
        Assert.Contains("no array for 'y'", ArchiveRefusal([x], Input("x", null, 2), Input("y", 1)), StringComparison.Ordinal);
        Assert.Contains("'x' is none of the inputs", ArchiveRefusal([x], Input("y", null, 2)), StringComparison.Ordinal);
        Assert.Contains(
            "3 samples for input 'x' and 1 for input 'y'",
            ArchiveRefusal([x, ("y", Npy("<f4", "(1,)", Bytes(1f)))], Input("x", null, 2), Input("y", 1)), StringComparison.Ordinal);
        Assert.Contains("is not an .npz file", Assert.Throws<NibbleException>(
            () => ArraySamples.Open("a.npz", () => new MemoryStream([1, 2, 3]), true, [Input("x")])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(">f4", "(3, 2)", "little-endian")]
    [InlineData("|O", "(3, 2)", "little-endian")]
    [InlineData("<f4", "(3, 3)", "the file is damaged")]
    [InlineData("<f4", "(0, 2)", "no elements")]
    [InlineData("<f4", "(99999999999999999999,)", "header")]
    [InlineData("<f4", "(3, -2)", "header")]
    public void ABrokenArrayIsRefused(string type, string shape, string part)
    {
        var message = Refusal(Npy(type, shape, shape.StartsWith("(0", StringComparison.Ordinal) ? [] : SixFloats), Input("x", null, 2));

        Assert.Contains(part == "the file is damaged" ? "the file is damaged" : part, message, StringComparison.Ordinal);
    }

    [Fact]
    public void FortranOrderIsRefused() => Assert.Contains(
        "ascontiguousarray", Refusal(Npy("<f4", "(3, 2)", SixFloats, isFortran: true), Input("x", null, 2)), StringComparison.Ordinal);

    [Fact]
    public void ValuesThatAnInputDoesNotHoldAreRefused()
    {
        Assert.Contains("value 1 for input 'x' is NaN", Refusal(Npy("<f4", "(1, 2)", Bytes(1f, float.NaN)), Input("x", 1, 2)), StringComparison.Ordinal);
        Assert.Contains("Save integers", Refusal(Npy("<f4", "(1, 2)", Bytes(1f, 2f)), Integers("x", 1, 2)), StringComparison.Ordinal);
        Assert.Contains("expected float [?, 3]", Refusal(Npy("<f4", "(3, 2)", SixFloats), Input("x", null, 3)), StringComparison.Ordinal);
    }

    [Fact]
    public void AMutatedArrayIsReadOrRefused()
    {
        var valid = Npy("<f4", "(3, 2)", SixFloats);
        byte[][] pieces = [.. ((string[])["(", ")", ",", "'<f8'", "|u1", "True", "9999999999", "}", "{", "'shape'"]).Select(Encoding.ASCII.GetBytes), [0xFF, 0xFF]];
        var read = 0;
        Mutations.Any.Sample(
            mutations => _ = CountOrRefused(() => ArraySamples.Open("a.npy", () => new MemoryStream(mutations.Of(valid, pieces)), false, [Input("x", null, null)]))
                is not null ? Interlocked.Increment(ref read) : 0,
            iter: 20_000);
        Assert.InRange(read, 100, 19_900);
    }

    [Fact]
    public void AMutatedArchiveIsReadOrRefused()
    {
        var valid = Npz(("x", Npy("<f4", "(3, 2)", SixFloats)), ("n", Npy("<i8", "(3,)", Bytes(7L, 8L, 9L))));
        byte[][] pieces = [[0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0], [0x50, 0x4B, 1, 2], [0x50, 0x4B, 5, 6], [9, 0], [1, 0], [0xFF, 0xFF, 0xFF, 0x7F]];
        var read = 0;
        Mutations.Any.Sample(
            mutations => _ = CountOrRefused(() => ArraySamples.Open(
                "a.npz", () => new MemoryStream(mutations.Of(valid, pieces)), true, [Input("x", null, 2), Integers("n")])) is not null ? Interlocked.Increment(ref read) : 0,
            iter: 20_000);
        Assert.InRange(read, 100, 19_900);
    }

    private static List<PlacedSample> Read(byte[] npy, GraphInput input) =>
        [.. ArraySamples.Open("a.npy", () => new MemoryStream(npy), false, [input]).Read()];

    private static string Refusal(byte[] npy, GraphInput input) => Assert.Throws<NibbleException>(() => Read(npy, input)).Message;

    private static string ArchiveRefusal((string Name, byte[] Npy)[] arrays, params GraphInput[] inputs) => Assert.Throws<NibbleException>(
        () => ArraySamples.Open("a.npz", () => new MemoryStream(Npz(arrays)), true, inputs)).Message;
}
