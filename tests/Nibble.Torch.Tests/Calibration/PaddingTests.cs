using Nibble.Torch.Training;
using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tasks;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Calibration;

/// <summary>Padding enters no statistic: a padded batch of texts gives what the same texts give one by one.</summary>
public sealed class PaddingTests : IDisposable
{
    private const string Texts = "good film\t2\nbad films w12 w13 w14 w15 w16\t0\nw20\t1\nfilm bad\t0\nw9 w30 w31 w32\t1\n";

    private static readonly bool[] ThreeOfFour = [true, true, true, false];
    private static readonly bool[] FourOfSix = [true, true, true, true, false, false];
    private static readonly bool[] TwoRows = [true, false, true, true];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("bert", "w8a8-static")]
    [InlineData("roberta", "w8a8-static-percentile")]
    [InlineData("distilbert", "w8a8-static-mse")]
    [InlineData("bert", "w4a4-g8-static-entropy")]
    public void StaticRangesOfAPaddedBatchAreThoseOfTheTextsAlone(string type, string preset)
    {
        var (classifier, data) = Open(type);
        using (classifier)
        {
            var recipe = RecipePresets.Parse(preset);
            int[] all = [.. Enumerable.Range(0, data.Sequences.Count)];
            var together = Calibrate(classifier, recipe, data, [all]);
            var alone = Calibrate(classifier, recipe, data, all.Select(index => (int[])[index]));
            Assert.Equal(14, together.Count);
            Assert.All(together, item =>
            {
                // Behind the first products, whose sums libtorch orders by the shape of the batch, the last bits differ.
                var (expected, found) = (alone[item.Key].Static!.Value, item.Value.Static!.Value);
                Assert.Equal(1, found.Scale / expected.Scale, 1e-6);
                Assert.Equal(expected.ZeroPoint, found.ZeroPoint);
            });
            var first = together[classifier.Bert().Linears[0].Key].Static!.Value;
            Assert.Equal(alone[classifier.Bert().Linears[0].Key].Static, first);

            // What padding is would be seen: it is made to stand out.
            var seen = Embeddings(classifier, data, [all]);
            Assert.True(preset.Contains("static-", StringComparison.Ordinal)
                || first == QuantizationParameters.FromRange(seen.Real, together.Values.First().Scheme));
            Assert.True(seen.All.Max - seen.All.Min > 1.05 * (seen.Real.Max - seen.Real.Min));
        }
    }

    [Fact]
    public void QuantizingAClassifierLooksAtRealTokensAloneAndAtAsManyTextsAsAskedFor()
    {
        var (classifier, data) = Open("bert");
        using (classifier)
        {
            var range = Embeddings(classifier, data, Enumerable.Range(0, data.Sequences.Count).Select(index => (int[])[index])).Real;
            var recipe = RecipePresets.Parse("w8a8-static");
            var layer = PostTrainingQuantizer.Run(classifier, recipe, data, seed: 1).Layers
                .Single(layer => layer.Name == "bert.encoder.layer.0.attention.self.query");
            Assert.Equal(QuantizationParameters.FromRange(range, layer.Input!.Scheme), layer.Input.Static);
        }

        using var again = LoadedModel.Open(folder.File("bert"));
        var three = PostTrainingQuantizer.Run(
            again, RecipePresets.Parse("w8a8-static") with { Ptq = new PtqSettings { Windows = 3, SequenceLength = 4 } }, data, seed: 1);
        Assert.Equal("3 texts of texts.tsv", three.Provenance.Calibration);
    }

    [Theory]
    [InlineData(ActivationEstimator.StraightThrough)]
    [InlineData(ActivationEstimator.LearnedScale)]
    [InlineData(ActivationEstimator.ClippedActivation)]
    public void TrainingBeginsAndFollowsRangesWithoutPadding(ActivationEstimator estimator)
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(8, symmetric: false, Granularity.Tensor);
        var real = tensor(new[] { -1f, 0.5f, 2f, 0.25f, 1f, -0.75f }).view(1, 3, 2);
        var padded = cat([real, tensor(new[] { 40f, -50f }).view(1, 1, 2)], 1);
        var mask = tensor(ThreeOfFour).view(1, 4);
        var (alone, together) = (InputFakeQuantizer.Create(estimator, scheme), InputFakeQuantizer.Create(estimator, scheme));
        alone.Apply(real);
        alone.Apply(real * 3);
        using (TokenMask.Begin(mask))
        {
            together.Apply(padded);
            together.Apply(padded * 3);
        }

        Assert.Equal(alone.Convert(), together.Convert());
    }

    /// <summary>LSQ divides the gradient of a scale by the root of how many values share it.</summary>
    [Fact]
    public void TrainingCountsNoPaddingForTheGradientOfAScale()
    {
        using var scope = NewDisposeScope();
        var scheme = new QuantizationScheme(8, symmetric: false, Granularity.Tensor);
        var real = tensor(new[] { -1f, 0.51f, 2f, 0.25f }).view(1, 2, 2);
        var padded = cat([real, zeros(1, 6, 2)], 1);
        var mask = cat([ones(1, 2), zeros(1, 6)], 1).to(ScalarType.Bool);
        Assert.Equal(Gradient(real, null), Gradient(padded, mask), 1e-7);

        double Gradient(Tensor x, Tensor? of)
        {
            var quantizer = InputFakeQuantizer.Create(ActivationEstimator.LearnedScale, scheme);
            quantizer.Start(new QuantizationParameters(0.017f, 3));
            using var pass = of is null ? null : TokenMask.Begin(of);
            quantizer.Apply(x).sum().backward();
            return quantizer.Parameters.Single().grad!.item<float>();
        }
    }

    [Fact]
    public void HessiansLeavePaddingOut()
    {
        using var scope = NewDisposeScope();
        var x = randn([2, 3, 4], generator: new Generator(1));
        var mask = tensor(FourOfSix).view(2, 3);
        using var expected = new Hessian(4);
        using var found = new Hessian(4);
        expected.Add(x[0]);
        expected.Add(x[1].narrow(0, 0, 1));
        using (TokenMask.Begin(mask))
        {
            found.Add(x);
        }

        Assert.Equal((4, 4), (expected.Tokens, found.Tokens));
        Assert.Equal(expected.Matrix().Block(0).ToArray(), found.Matrix().Block(0).ToArray(), (a, b) => Math.Abs(a - b) < 1e-5);
    }

    [Theory]
    [InlineData("w8a8-static")]
    [InlineData("w8a8")]
    [InlineData("w4a16-g8")]
    public void EvaluationDoesNotDependOnTheBatches(string preset)
    {
        var (classifier, data) = Open("bert");
        using (classifier)
        {
            QuantizedModelFile.Save(PostTrainingQuantizer.Run(classifier, RecipePresets.Parse(preset), data, seed: 1), folder.File("out"));
        }

        using var artifact = LoadedModel.Open(folder.File("out"));
        var together = new Classification().Evaluate(artifact.Model, data, new ScoreOptions());
        var losses = Enumerable.Range(0, data.Sequences.Count).Select(index =>
        {
            var line = Texts.Split('\n')[index];
            var one = new Classification().Read(folder.Write("one.tsv", line), artifact, new ReadOptions());
            return new Classification().Evaluate(artifact.Model, one, new ScoreOptions()).Loss!.Value;
        });
        Assert.Equal(losses.Average(), together.Loss!.Value, 1e-5);
    }

    [Fact]
    public void APassEndsWithWhatWasBeforeAndAMaskIsChecked()
    {
        using var scope = NewDisposeScope();
        var (x, mask) = (ones(2, 2, 3), tensor(TwoRows).view(2, 2));
        Assert.Equal(12, TokenMask.Count(x));
        using (TokenMask.Begin(mask))
        {
            Assert.Equal(9, TokenMask.Count(x));
            Assert.Equal([3, 3], TokenMask.Select(x).shape);
            using (TokenMask.Begin(ones(2, 2, dtype: ScalarType.Bool)))
            {
                Assert.Equal(12, TokenMask.Count(x));
            }

            Assert.Equal(9, TokenMask.Count(x));

            // A vector for each sequence has no tokens.
            Assert.Equal(4, TokenMask.Count(ones(2, 2)));
            Assert.Equal(8, TokenMask.Count(ones(2, 4)));
        }

        Assert.Equal(12, TokenMask.Count(x));
        Assert.Throws<ArgumentException>(() => TokenMask.Begin(ones(2, 2)));
        Assert.Throws<ArgumentException>(() => TokenMask.Begin(ones(2, dtype: ScalarType.Bool)));
    }

    private static IReadOnlyDictionary<string, ActivationQuantization> Calibrate(
        LoadedModel classifier, Recipe recipe, TextData data, IEnumerable<int[]> batches) =>
        ActivationCalibration.Run(classifier.Model.Module, recipe, () => Run(classifier, data, batches));

    /// <summary>The range of what the first layer reads, of real tokens and of all.</summary>
    private static (ValueRange Real, ValueRange All) Embeddings(LoadedModel classifier, TextData data, IEnumerable<int[]> batches)
    {
        var watch = new Watch();
        var first = classifier.Bert().Linears[0].Value;
        first.InputQuantizer = watch;
        Run(classifier, data, batches);
        first.InputQuantizer = null;
        return (watch.Real, watch.All);
    }

    private static void Run(LoadedModel classifier, TextData data, IEnumerable<int[]> batches)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        foreach (var indices in batches)
        {
            var batch = data.Batch(indices);
            classifier.Model.Compute(batch);
        }
    }

    /// <summary>A classifier whose padding token stands far out, and texts of different lengths.</summary>
    private (LoadedModel Classifier, TextData Data) Open(string type)
    {
        var tiny = new TinyBert(type);
        var classifier = LoadedModel.Open(tiny.Write(folder.File(type), tensors =>
        {
            var table = tensors[$"{type}.embeddings.word_embeddings.weight"].Values.AsSpan(tiny.PaddingId * TinyBert.Hidden, TinyBert.Hidden);
            var gains = tensors[$"{type}.embeddings.LayerNorm.weight"].Values;
            table.Clear();
            table[Array.IndexOf(gains, gains.Max())] = 40;
        }));
        return (classifier, (TextData)new Classification().Read(folder.Write("texts.tsv", Texts), classifier, new ReadOptions()));
    }

    private sealed class Watch : ITensorQuantizer
    {
        public ValueRange Real { get; private set; } = new(0, 0);

        public ValueRange All { get; private set; } = new(0, 0);

        public Tensor Apply(Tensor tensor)
        {
            Real = Wider(Real, TokenMask.Select(tensor));
            All = Wider(All, tensor);
            return tensor;
        }

        private static ValueRange Wider(ValueRange range, Tensor x) =>
            new(Math.Min(range.Min, x.min().item<float>()), Math.Max(range.Max, x.max().item<float>()));
    }
}
