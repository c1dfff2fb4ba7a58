using Nibble.Torch.Layers;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models.Bert;

public sealed class BertModelTests : IDisposable
{
    private static readonly long[][] Sequences = [[5, 17, 33, 8, 21, 9, 30], [5, 12, 9], [5, 38, 2, 26, 9]];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    // What reference.py prints: PyTorch's own encoder layer with the same weights.
    [Theory]
    [InlineData("bert", new[] { 0.2235333, 0.0977221, -0.1482401, 0.0872852, -0.2102488, 0.0053826, 0.3688793, -0.3050381, 0.1026495 })]
    [InlineData("roberta", new[] { 0.0729968, 0.3508543, -1.9928584, 0.3546539, 0.0407311, -1.6855244, 0.3296654, 0.0676985, -1.5224078 })]
    [InlineData("distilbert", new[] { 1.5073612, 0.4901586, -1.1818886, 0.4654814, 0.5267366, -1.1447253, 0.3189956, 1.0716288, -2.2207614 })]
    public void ForwardComputesWhatPyTorchComputes(string type, double[] expected)
    {
        using var loaded = new TinyBert(type).Open(folder);
        var logits = Logits(loaded.Bert(), Sequences);
        Assert.All(expected.Zip(logits), pair => Assert.Equal(pair.First, pair.Second, 2e-5));
    }

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void ForwardLooksAtNoPadding(string type)
    {
        using var loaded = new TinyBert(type).Open(folder);
        var together = Logits(loaded.Bert(), Sequences);
        var alone = Sequences.SelectMany(sequence => Logits(loaded.Bert(), [sequence])).ToArray();
        Assert.All(together.Zip(alone), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
    }

    [Theory]
    [InlineData("bert", 12)]
    [InlineData("roberta", 10)]
    [InlineData("distilbert", 12)]
    public void ForwardTakesAsManyTokensAsThereArePositions(string type, int longest)
    {
        using var loaded = new TinyBert(type).Open(folder);
        var tokens = Enumerable.Repeat(5L, longest).ToArray();
        Assert.Equal(TinyBert.Labels, Logits(loaded.Bert(), [tokens]).Length);
        Assert.Equal(
            $"a sequence of {longest + 1} tokens is longer than this model's {longest} positions. Shorten it",
            Assert.Throws<NibbleException>(() => Logits(loaded.Bert(), [[.. tokens, 5]])).Message);
    }

    [Theory]
    [InlineData("bert", 14, "bert.encoder.layer.0.attention.self.query", "bert.pooler.dense", "classifier")]
    [InlineData("roberta", 14, "roberta.encoder.layer.0.attention.self.query", "classifier.dense", "classifier.out_proj")]
    [InlineData("distilbert", 14, "distilbert.transformer.layer.0.attention.q_lin", "pre_classifier", "classifier")]
    public void LinearsAreAllLinearLayersInTheModelsOrder(string type, int count, string first, string beforeLast, string last)
    {
        using var model = new BertModel(new TinyBert(type).Config);
        var names = model.Linears.Select(linear => linear.Key).ToArray();
        Assert.Equal((count, first, beforeLast, last), (names.Length, names[0], names[^2], names[^1]));
        var others = model.named_parameters().Where(item => item.name.EndsWith("weight", StringComparison.Ordinal) && item.parameter.dim() == 2)
            .Select(item => item.name[..^".weight".Length]).Except(names);
        Assert.All(others, name => Assert.EndsWith("_embeddings", name, StringComparison.Ordinal));
    }

    [Fact]
    public void QuantizersOfEveryLayerAreAsked()
    {
        using var loaded = new TinyBert().Open(folder);
        var counters = new List<Counter>();
        foreach (var (_, linear) in loaded.Bert().Linears)
        {
            counters.AddRange([new Counter(), new Counter()]);
            (linear.WeightQuantizer, linear.InputQuantizer) = (counters[^2], counters[^1]);
        }

        Logits(loaded.Bert(), Sequences);
        Assert.All(counters, counter => Assert.Equal(1, counter.Calls));
    }

    [Fact]
    public void DropoutActsInTrainingOnly()
    {
        using var loaded = new TinyBert { Dropout = 0.5 }.Open(folder);
        var still = Logits(loaded.Bert(), Sequences);
        Assert.Equal(still, Logits(loaded.Bert(), Sequences));
        loaded.Bert().train();
        Assert.NotEqual(still, Logits(loaded.Bert(), Sequences));
    }

    [Fact]
    public void InitializeDrawsWhatTheSeedSays()
    {
        using var first = new TinyBert().Create(folder, seed: 7);
        using var again = new TinyBert().Create(folder, seed: 7);
        using var other = new TinyBert().Create(folder, seed: 8);
        var values = first.Bert().named_parameters().ToDictionary(item => item.name, item => Bits.Of(item.parameter));
        Assert.All(again.Bert().named_parameters(), item => Bits.Equal(values[item.name], item.parameter));
        Assert.NotEqual(values["classifier.weight"], Bits.Of(other.Bert().named_parameters().Single(item => item.name == "classifier.weight").parameter));
        Assert.All(values["classifier.bias"].Concat(values["bert.embeddings.LayerNorm.bias"])
            .Concat(values["bert.embeddings.word_embeddings.weight"].Take(TinyBert.Hidden)), value => Assert.Equal(0, value));
        Assert.All(values["bert.embeddings.LayerNorm.weight"], value => Assert.Equal(1, value));
        var words = values["bert.embeddings.word_embeddings.weight"].Skip(TinyBert.Hidden).Select(value => (double)value).ToArray();
        Assert.InRange(Math.Sqrt(words.Average(value => value * value)), 0.018, 0.022);
    }

    /// <summary>The logits of a batch, row by row.</summary>
    private static float[] Logits(BertModel model, long[][] sequences)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var length = sequences.Max(sequence => sequence.Length);
        var ids = sequences.SelectMany(sequence => sequence.Concat(Enumerable.Repeat((long)model.Config.PaddingId, length - sequence.Length))).ToArray();
        var mask = sequences.SelectMany(sequence => Enumerable.Range(0, length).Select(i => i < sequence.Length)).ToArray();
        return model.call(tensor(ids, sequences.Length, length), tensor(mask, sequences.Length, length)).data<float>().ToArray();
    }

    private sealed class Counter : ITensorQuantizer
    {
        public int Calls { get; private set; }

        public Tensor Apply(Tensor tensor)
        {
            Calls++;
            return tensor;
        }
    }
}
