using Nibble.Torch.Ptq.BlockWise;
using Nibble.Torch.Calibration;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Ptq.Learned;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq.BlockWise;

public sealed class BlockTrainerTests : IDisposable
{
    private static readonly QatSettings Settings =
        new() { Mode = TrainingMode.BlockWise, BlockSteps = 40, BatchSize = 3, LearningRate = 5e-3, ScaleLearningRate = 5e-3 };

    private readonly TemporaryFolder folder = new();
    private readonly LoadedModel quantized;
    private readonly LoadedModel floats;
    private readonly QuantizationUnit unit;
    private readonly QuantizationUnit original;
    private readonly ActivationStream inputs;
    private readonly ActivationStream floatInputs;
    private readonly BlockReconstruction reconstruction;

    public BlockTrainerTests()
    {
        quantized = new TinyLlama().Open(folder);
        floats = new TinyLlama().Open(folder);
        unit = new QuantizationUnit(quantized.Llama().Blocks[0], "model.layers.0.");
        original = new QuantizationUnit(floats.Llama().Blocks[0], "model.layers.0.");
        using var scope = NewDisposeScope();
        var generator = new Generator(5);
        var x = randn(8, 12, TinyLlama.Hidden, generator: generator);
        floatInputs = Stream("floats", x);
        inputs = Stream("inputs", x + (0.1 * randn(8, 12, TinyLlama.Hidden, generator: generator)));
        reconstruction = new BlockReconstruction(unit, inputs, original, floatInputs, CPU, CancellationToken.None);
    }

    public void Dispose()
    {
        inputs.Dispose();
        floatInputs.Dispose();
        quantized.Dispose();
        floats.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData(GradientEstimator.LearnedScale, 2, 0.5)]
    [InlineData(GradientEstimator.LearnedScaleAndOffset, 2, 0.5)]
    [InlineData(GradientEstimator.LearnedScale, 4, 0.9)]
    public void TrainLowersTheErrorOfTheBlockWhichComputesWithWhatIsReturned(GradientEstimator estimator, int bits, double share)
    {
        var layers = Layers(bits);
        var before = reconstruction.Error();
        var told = new Told();
        var result = Trainer(Settings with { Estimator = estimator, ScaleLearningRate = estimator == GradientEstimator.LearnedScale ? 5e-3 : 5e-2 }, 1, told)
            .Train(unit, original, reconstruction, layers);

        Assert.InRange(reconstruction.Error(), 0, share * before);
        Assert.Equal(Enumerable.Range(1, 40).Select(step => new RunProgress("learn", step, 40)), told.All);
        var linears = unit.Linears.ToDictionary();
        Assert.All(layers.Zip(result), item =>
        {
            Bits.Equal(item.Second.Weight.Dequantize(), linears[item.First.Name].Weight);
            Assert.NotEqual(item.First.Weight.Codes, item.Second.Weight.Codes);
            Assert.NotEqual(item.First.Weight.Scales, item.Second.Weight.Scales);
            Assert.Null(linears[item.First.Name].WeightQuantizer);
        });
        if (estimator == GradientEstimator.LearnedScaleAndOffset)
        {
            Assert.Contains(layers.Zip(result), item => !item.First.Weight.ZeroPoints.SequenceEqual(item.Second.Weight.ZeroPoints));
        }
    }

    [Fact]
    public void TrainLeavesNormsAndTheFloatBlock()
    {
        var tensors = new TinyLlama().Tensors();
        Trainer(Settings, 1).Train(unit, original, reconstruction, Layers(2));
        Assert.All(original.Parameters, parameter => Bits.Equal(tensors[parameter.Key].Values, parameter.Value));
        Assert.All(unit.Parameters.Where(parameter => parameter.Key.Contains("norm", StringComparison.Ordinal)),
            parameter => Bits.Equal(tensors[parameter.Key].Values, parameter.Value));
    }

    [Fact]
    public void TrainKeepsTheStartWhereTrainingMakesItWorse()
    {
        var layers = Layers(4);
        var before = reconstruction.Error();
        Assert.Equal(layers, Trainer(Settings with { LearningRate = 5, ScaleLearningRate = 1, BlockSteps = 2 }, 1)
            .Train(unit, original, reconstruction, layers));
        Assert.Equal(before, reconstruction.Error());
    }

    [Fact]
    public void TrainKeepsTheStartWhereThereIsNothingToLearn()
    {
        var layers = Layers(4);
        original.CopyFrom(unit);
        var same = new BlockReconstruction(unit, inputs, original, inputs, CPU, CancellationToken.None);
        var told = new Told();
        Assert.Equal(layers, Trainer(Settings, 1, told).Train(unit, original, same, layers));
        Assert.Empty(told.All);
    }

    [Fact]
    public void TrainNamesTheLayersWhenTheLossIsNoLongerFinite() => Assert.Matches(
        "^model.layers.0.self_attn.q_proj and the other layers of the block: the training loss became .* at step 2. ",
        Assert.Throws<NibbleException>(
            () => Trainer(Settings with { LearningRate = 1e30, ScaleLearningRate = 1e30, WarmUp = 0 }, 1)
            .Train(unit, original, reconstruction, Layers(2))).Message);

    private static BlockTrainer Trainer(QatSettings settings, long seed, Told? told = null) => new(settings, seed, told, CancellationToken.None);

    /// <summary>Rounds the block to nearest, to start from.</summary>
    private List<QuantizedLayer> Layers(int bits)
    {
        var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Group(8)) { ScalePrecision = ScalePrecision.Float16 };
        var layers = new List<QuantizedLayer>();
        foreach (var ((name, linear), (_, source)) in unit.Linears.Zip(original.Linears))
        {
            var start = RoundToNearest.Quantize(Bits.Of(source.Weight), linear.OutFeatures, linear.InFeatures, scheme, WeightRange.Mse);
            Conversion.CopyInto(linear.Weight, start.Dequantize());
            layers.Add(new QuantizedLayer(name, start, null));
        }

        return layers;
    }

    private ActivationStream Stream(string name, Tensor batch)
    {
        var stream = ActivationStream.Create(
            folder.File(name), [.. Enumerable.Repeat((int)batch.shape[1], (int)batch.shape[0])], (int)batch.shape[2], memoryLimit: 0);
        stream.Append(batch);
        stream.Complete();
        return stream;
    }
}
