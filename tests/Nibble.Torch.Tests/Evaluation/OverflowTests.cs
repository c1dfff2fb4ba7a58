using Nibble.Torch.Training;
using Nibble.Files;
using Nibble.Torch.Tasks;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Planning;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Evaluation;

/// <summary>Where a model computes what is no number, every score, calibration and training says so and names the place.</summary>
public sealed class OverflowTests : IDisposable
{
    private static readonly TokenizedText Text = Texts.Random(512);
    private static readonly float[] Large = [1, 70000];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ScoresNameTheFirstLayerThatIsGivenWhatIsNoNumber()
    {
        using var model = new TinyLlama().Open(folder);
        Set(model.Model.Module, "model.layers.1.post_attention_layernorm.weight", 2, float.NaN);
        const string Expected = "the model computes NaN or infinite values on this text, first in the input of 'model.layers.1.mlp.gate_proj'";
        Refuses(Expected, () => Evaluator.Evaluate(model.Decoder, Text, 64));
        using var sound = LoadedModel.Open(model.Folder);
        Refuses(Expected, () => Evaluator.Evaluate(sound.Decoder, Text, 64, reference: model.Decoder));
        using var study = new LayerStudy(new StudyOptions(model, Text, [RecipePresets.Parse("w4a16-g8")], folder.File("cache")) { Context = 32 });
        Refuses(Expected, () => study.Measure(RecipePresets.Parse("w4a16-g8")));
        Assert.All(model.Llama().Linears, linear => Assert.Null(linear.Value.InputQuantizer));
        Refuses("the model's logits hold NaN", () => TextGenerator.Generate(model, "abc", new GenerationOptions(3)));
        Refuses("the model's logits hold NaN", () => TextGenerator.Continue(model.Decoder, [1, 2, 3], 2));
    }

    [Fact]
    public void ScoresOfAnOutputAloneSaySo()
    {
        using var model = new TinyLlama().Open(folder);
        Set(model.Model.Module, "lm_head.weight", 7, float.PositiveInfinity);
        Refuses("first in its output", () => Evaluator.Evaluate(model.Decoder, Text, 64));
    }

    [Fact]
    public void ScoresOfClassifiersNameTheLayerToo()
    {
        using var loaded = new TinyBert().Open(folder);
        var task = new Classification();
        var data = task.Read(folder.Write("data.tsv", "good film\t1\nbad\t0\n"), loaded, new ReadOptions());
        Set(loaded.Model.Module, "bert.encoder.layer.1.attention.output.LayerNorm.bias", 0, float.PositiveInfinity);
        Refuses("first in the input of 'bert.encoder.layer.1.intermediate.dense'", () => task.Evaluate(loaded.Model, data, new ScoreOptions()));
    }

    /// <summary>Weights that are finite and overflow: what a block puts out is looked at before the next block is calibrated on it.</summary>
    [Theory]
    [InlineData("w4a16-g8-gptq", "model.layers.0.mlp.down_proj: Row 0 of the Hessian")]
    [InlineData("w4a16-g8-importance", "model.layers.0.mlp.down_proj: ")]
    [InlineData("w4a16-g8-awq", "model.layers.0.mlp.down_proj: the layer's inputs are NaN, infinite or too large to be squared")]
    [InlineData("w8a8-static", "calibration: the input of layer 'model.layers.0.mlp.down_proj' holds")]
    [InlineData("w4a16-g8-gptq-kept", "tiny: the output of model.layers.0 holds NaN or infinite values, first at token 0 of calibration window 0")]
    public void CalibrationNamesThePlace(string preset, string expected)
    {
        // Products of the feed-forward part are above what binary32 holds.
        var path = new TinyLlama().Write(folder.File("tiny"), tensors =>
        {
            foreach (var name in (string[])["model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"])
            {
                Array.ForEach([.. Enumerable.Range(0, 320)], i => tensors[name].Values[i] *= 1e20f);
            }
        });
        var recipe = RecipePresets.Parse(preset.Replace("-kept", string.Empty, StringComparison.Ordinal));
        var kept = (string[])["model.layers.0.mlp.up_proj", "model.layers.0.mlp.gate_proj", .. preset.EndsWith("-kept", StringComparison.Ordinal)
            ? (string[])["*.mlp.down_proj"] : []];
        recipe = recipe with { Rules = [.. kept.Select(name => new RecipeRule(name, Weights: null)), .. recipe.Rules] };
        Refuses(expected, () => PostTrainingQuantizer.Run(new PtqRequest(path, recipe, folder.File("out")) { Data = Text }));
        Assert.Equal(["tiny"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData(ActivationEstimator.StraightThrough)]
    [InlineData(ActivationEstimator.LearnedScale)]
    public void TrainingSaysTheStepWhereAnInputIsNoNumber(ActivationEstimator estimator)
    {
        using var scope = NewDisposeScope();
        var quantizer = InputFakeQuantizer.Create(estimator, new QuantizationScheme(8, symmetric: false, Granularity.Tensor));
        var input = tensor(new[] { 1f, float.PositiveInfinity });
        Refuses("the input of a layer that is quantized per tensor holds NaN or infinite values", () => quantizer.Apply(input));
        var parameter = nn.Parameter(ones(1));
        var task = new TrainingTask([new ParameterGroup("p", [parameter], 0.1, 0)], (_, _) => (quantizer.Apply(input) * parameter).sum());
        Refuses("training step 1: the input of a layer", () => new TrainingLoop(task, new QatSettings { Steps = 2 }).Run());
    }

    [Fact]
    public void TrainingOfAModelThatOverflowsDoesNotBlameTheLearningRate()
    {
        using var model = new TinyLlama().Open(folder);
        Set(model.Model.Module, "model.norm.weight", 0, float.NaN);
        var trainer = new QuantizationAwareTrainer(model, null, new QatSettings { Steps = 2, SequenceLength = 32, BatchSize = 2 }, Text, new(), seed: 1);
        Refuses("the training loss is NaN at step 1, before any training", () => trainer.Train());
    }

    [Fact]
    public void HeldOutLossesAreLookedAt()
    {
        using var parameter = nn.Parameter(ones(1));
        var task = new TrainingTask([new ParameterGroup("p", [parameter], 0.1, 0)], (_, _) => parameter.sum()) { HeldOutLoss = () => double.NaN };
        Refuses("the training loss on held-out data became NaN at step 1",
            () => new TrainingLoop(task, new QatSettings { Steps = 2, EvaluateEvery = 1 }).Run());
    }

    [Fact]
    public void ValuesThatTheirTypeCannotHoldAreRefused()
    {
        using var scope = NewDisposeScope();
        var values = tensor(Large);
        Refuses("tensor 'b' holds 70000 (value 1), which F16 stores as Infinity", () => Conversion.Stored("b", values, ElementType.F16));
        Assert.Equal([1, 70144f], Conversion.Stored("b", values, ElementType.BF16).Values);
    }

    private static void Set(nn.Module model, string name, long index, float value)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        model.named_parameters().Single(item => item.name == name).parameter.view(-1)[index] = value;
    }

    private static void Refuses(string expected, Action work) =>
        Assert.Contains(expected, Assert.Throws<NibbleException>(work).Message, StringComparison.Ordinal);
}
