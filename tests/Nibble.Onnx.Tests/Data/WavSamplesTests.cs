using Nibble.Onnx.Data;
using Nibble.Tests.Shared;
using static Nibble.Onnx.Tests.Data.DataFiles;

namespace Nibble.Onnx.Tests.Data;

public sealed class WavSamplesTests
{
    [Fact]
    public void ARecordingIsCutIntoPiecesAndTheLastIsFilled()
    {
        var wav = Open(Wav(1, 1, 16, [0, 0x40, 0, 0xC0, 0, 0x20]));

        Assert.Equal(2, wav.Count);
        Assert.Contains("the last one filled with zeros", wav.Description, StringComparison.Ordinal);
        Assert.Equal([[0.5f, -0.5f], [0.25f, 0f]], wav.Read().Select(sample => Floats(sample.Values[0])));
    }

    [Fact]
    public void AllWidthsHaveTheSameRange()
    {
        byte[][] files =
        [
            Wav(1, 1, 8, [192, 64]), Wav(1, 1, 16, [0, 0x40, 0, 0xC0]), Wav(1, 1, 24, [0, 0, 0x40, 0, 0, 0xC0]),
            Wav(1, 1, 32, [0, 0, 0, 0x40, 0, 0, 0, 0xC0]), Wav(3, 1, 32, Bytes(0.5f, -0.5f)),
        ];

        Assert.All(files, file => Assert.Equal([0.5f, -0.5f], Floats(Assert.Single(Open(file).Read()).Values[0])));
    }

    [Fact]
    public void ChannelsAreMixed() => Assert.Equal(
        [0.25f, -0.5f], Floats(Assert.Single(Open(Wav(1, 2, 16, [0, 0x40, 0, 0, 0, 0xC0, 0, 0xC0])).Read()).Values[0]));

    [Fact]
    public void AFileThatDoesNotFitIsRefused()
    {
        var wav = Wav(1, 1, 16, [0, 0x40]);
        Assert.Contains("expected 8000", Refusal(() => Open(wav, rate: 8000)), StringComparison.Ordinal);
        Assert.Contains("the size of axis 1 is free", Refusal(() => Open(wav, Input("x", 1, null))), StringComparison.Ordinal);
        Assert.Contains("format 2 with 4 bits", Refusal(() => Open(Wav(2, 1, 4, [1, 2]))), StringComparison.Ordinal);
        Assert.Contains("its recording was not finished", Refusal(() => Open(wav[..^1])), StringComparison.Ordinal);
    }

    [Fact]
    public void AMutatedFileIsReadOrRefused()
    {
        var valid = Wav(1, 2, 16, new byte[64]);
        byte[][] pieces = [[0xFF, 0xFF, 0xFF, 0xFF], [0, 0], [1, 0], [3, 0], [0xFE, 0xFF], "fmt "u8.ToArray(), "data"u8.ToArray(), [0xFF, 0xFF, 0xFF, 0x7F], [24, 0]];
        var read = 0;
        Mutations.Any.Sample(
            mutations => _ = CountOrRefused(() => Open(mutations.Of(valid, pieces))) is not null ? Interlocked.Increment(ref read) : 0, iter: 20_000);
        Assert.InRange(read, 100, 19_900);
    }

    private static string Refusal(Func<object> open) => Assert.Throws<NibbleException>(() => open()).Message;

    private static WavSamples Open(byte[] bytes, GraphInput? input = null, int? rate = null) =>
        new("a.wav", () => new MemoryStream(bytes), [input ?? Input("x", null, 2)], rate);
}
