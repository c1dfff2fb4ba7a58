using Nibble.Torch.Calibration;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Calibration;

public sealed class ImportanceCalibrationTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void RunAddsUpTheSquaresOfWhatLayersRead()
    {
        var tiny = new TinyLlama();
        using var model = tiny.Open(folder);
        var text = Texts.Random(50);
        var told = new Told();
        var matrix = ImportanceCalibration.Run(model.Decoder, text, 10, 2, told, TestContext.Current.CancellationToken);

        // The first layer sees the normalised embeddings of the tokens 0 to 9 and 10 to 19.
        var tensors = tiny.Tensors();
        var (embedding, norm) = (tensors["model.embed_tokens.weight"].Values, tensors["model.layers.0.input_layernorm.weight"].Values);
        var expected = new double[TinyLlama.Hidden];
        foreach (var token in text.Window(0, 10).Concat(text.Window(10, 10)))
        {
            var row = embedding.AsSpan((int)token * TinyLlama.Hidden, TinyLlama.Hidden).ToArray();
            var meanSquare = row.Average(value => (double)value * value) + 1e-5;
            for (var i = 0; i < row.Length; i++)
            {
                expected[i] += row[i] * row[i] / meanSquare * norm[i] * norm[i];
            }
        }

        foreach (var name in (string[])["attn_q", "attn_k", "attn_v"])
        {
            var entry = matrix.Entries[$"blk.0.{name}.weight"];
            Assert.Equal([20f], entry.Counts);
            Assert.All(expected.Zip(entry.Squares), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, 1e-4 * pair.First));
        }

        Assert.Equal(7 * TinyLlama.Layers, matrix.Entries.Count);
        Assert.DoesNotContain("output.weight", matrix.Entries.Keys);
        Assert.Equal((2, 10, text.Name), (matrix.Chunks, matrix.ChunkSize, Assert.Single(matrix.Datasets)));
        Assert.All(model.Llama().Linears, linear => Assert.Null(linear.Value.InputQuantizer));
        Assert.Equal([new RunProgress("imatrix", 1, 2), new RunProgress("imatrix", 2, 2)], told.All);
    }

    [Fact]
    public void RunRefusesATextThatIsTooShortAndLeavesTheModelAlone()
    {
        using var model = new TinyLlama().Open(folder);
        Assert.Contains("expected at least one window of 10",
            Assert.Throws<NibbleException>(
            () => ImportanceCalibration.Run(model.Decoder, Texts.Random(9), 10, null, cancellation: TestContext.Current.CancellationToken)).Message,
            StringComparison.Ordinal);
        Assert.All(model.Llama().Linears, linear => Assert.Null(linear.Value.InputQuantizer));
    }
}
