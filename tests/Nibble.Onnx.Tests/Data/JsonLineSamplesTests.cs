using System.Text;
using Nibble.Onnx.Data;
using Nibble.Tests.Shared;
using static Nibble.Onnx.Tests.Data.DataFiles;

namespace Nibble.Onnx.Tests.Data;

public sealed class JsonLineSamplesTests
{
    private const string Valid = "{\"x\": [[1, 2.5], [3, 4]], \"n\": [7]}\n{\"n\": [8], \"x\": [[[5, 6], [7, 8]]]}\n";

    [Fact]
    public void EachLineIsASample()
    {
        var samples = Read(Valid);

        Assert.Equal(2, samples.Count);
        Assert.Equal([1f, 2.5f, 3f, 4f], Floats(samples[0].Values[0]));
        Assert.Equal([1, 2, 2], Shape(samples[0].Values[0]));
        Assert.Equal([8L], Longs(samples[1].Values[0]));
        Assert.Equal("a.jsonl, line 2", samples[1].Place);
    }

    [Theory]
    [InlineData("[1]", "expected an object")]
    [InlineData("", "not valid JSON")]
    [InlineData("{\"x\": [[1, 2], [3]]}", "differ in length")]
    [InlineData("{\"x\": [[], []]}", "are empty")]
    [InlineData("{\"x\": [1, [2, 3]]}", "differ in depth")]
    [InlineData("{\"x\": [[1, 2], 3]}", "differ in depth")]
    [InlineData("{\"x\": [[1, \"2\"], [3, 4]]}", "expected a number")]
    [InlineData("{\"x\": [[1, 1e999], [3, 4]]}", "expected a finite number")]
    [InlineData("{\"x\": [1, 2]}", "expected float [?, 2, 2]")]
    [InlineData("{\"n\": [1.5]}", "expected an integer")]
    [InlineData("{\"n\": {}}", "StartObject")]
    [InlineData("{\"y\": [1]}", "'y' is none of the inputs")]
    [InlineData("{\"n\": [1]} {", "not valid JSON")]
    public void ABrokenLineIsRefused(string line, string part) =>
        Assert.Contains(part, Assert.Throws<NibbleException>(() => Read(line + "\n")).Message, StringComparison.Ordinal);

    [Fact]
    public void AMutatedFileIsReadOrRefused()
    {
        var valid = Encoding.UTF8.GetBytes(Valid);
        byte[][] pieces = [.. ((string[])["[", "]", "{", "}", ",", "\"n\"", ":", "1e400", "null", "true", "\\uD800", "\n"]).Select(Encoding.ASCII.GetBytes), [0xC3, 0x28]];
        var read = 0;
        Mutations.Any.Sample(
            mutations => _ = CountOrRefused(() => Open(mutations.Of(valid, pieces))) is not null ? Interlocked.Increment(ref read) : 0, iter: 20_000);
        Assert.InRange(read, 100, 19_900);
    }

    private static List<PlacedSample> Read(string text) => [.. Open(Encoding.UTF8.GetBytes(text)).Read()];

    private static JsonLineSamples Open(byte[] bytes) => new("a.jsonl", () => new MemoryStream(bytes), [Input("x", null, 2, 2), Integers("n", 1)]);
}
