using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat;

public sealed class QuantizationAwareTests : IDisposable
{
    private static readonly QuantizationScheme Int4 = new(4, symmetric: true, Granularity.Channel);
    private static readonly ActivationRule Static8 = new(new QuantizationScheme(8, symmetric: false, Granularity.Tensor));

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string, GradientEstimator, ActivationEstimator, bool> Conversions
    {
        get
        {
            var data = new TheoryData<string, GradientEstimator, ActivationEstimator, bool>();
            foreach (var preset in (string[])["w8a8-static", "w4a8-static-g8", "w2a16-g8-sym", "wta16-g8"])
            {
                foreach (var estimator in Enum.GetValues<GradientEstimator>())
                {
                    foreach (var images in (bool[])[true, false])
                    {
                        data.Add(preset, estimator, ActivationEstimator.LearnedScale, images);
                    }
                }
            }

            foreach (var activations in Enum.GetValues<ActivationEstimator>())
            {
                data.Add("w8a8-static", GradientEstimator.StraightThrough, activations, true);
                data.Add("w8a8-static", GradientEstimator.StraightThrough, activations, false);
            }

            data.Add("w8a8", GradientEstimator.LearnedScale, ActivationEstimator.LearnedScale, false);
            return data;
        }
    }

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Conversions))]
    public void ConvertYieldsWhatATrainedModuleComputesAlsoAfterAWayThroughAFile(
        string preset, GradientEstimator estimator, ActivationEstimator activations, bool images)
    {
        using var module = Create(images, seed: 1);
        var recipe = RecipePresets.Parse(preset) with { Qat = new QatSettings { Estimator = estimator, Activations = activations } };
        var prepared = QuantizationAware.Prepare(module, recipe);
        Train(module, prepared, images, steps: 4);
        module.eval();
        using var input = Input(images, seed: 9);
        using var before = Evaluate(module, input);

        var model = prepared.Convert();
        QuantizedModelFile.Save(model, folder.File("artifact"));
        var read = QuantizedModelFile.Load(folder.File("artifact"));
        using var fresh = Create(images, seed: 2);
        fresh.eval();
        QuantizationAware.Load(fresh, read);

        using var after = Evaluate(fresh, input);
        Bits.Equal(Bits.Of(before), after);
        using var again = Evaluate(module, input);
        Bits.Equal(Bits.Of(before), again);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void PrepareLeavesNoTraceOfTheOldLayersAndKeepsNamesAndParameters(bool images)
    {
        using var module = Create(images, seed: 1);
        var names = module.state_dict().Keys.ToList();
        var values = module.state_dict().ToDictionary(item => item.Key, item => Bits.Of(item.Value));
        var named = module.named_parameters().Select(item => item.name).ToList();

        QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)]));
        GC.Collect();
        GC.WaitForPendingFinalizers();

        Assert.DoesNotContain(module.modules(), child => child is Linear or Conv2d or Embedding or BatchNorm2d);
        Assert.Equal(names, module.state_dict().Keys);
        Assert.Equal(named, module.named_parameters().Select(item => item.name));
        Assert.All(module.state_dict(), item => Bits.Equal(values[item.Key], item.Value));
        module.train();
        Assert.All(module.modules(), child => Assert.True(child.training));
        module.eval();
        Assert.All(module.modules(), child => Assert.False(child.training));
        if (images)
        {
            // TorchSharp cannot move a ModuleDict, whatever it holds.
            module.to(float64);
            Assert.All(module.state_dict().Where(item => item.Value.is_floating_point()), item => Assert.Equal(float64, item.Value.dtype));
            module.to(float32);
        }

        using var loaded = Create(images, seed: 5);
        module.load_state_dict(loaded.state_dict());
        Assert.All(loaded.state_dict(), item => Bits.Equal(Bits.Of(item.Value), module.state_dict()[item.Key]));
    }

    [Fact]
    public void PrepareSharesParametersWithAnOptimizerThatWasThereBefore()
    {
        using var module = Create(images: false, seed: 1);
        var parameters = module.parameters().ToList();
        using var optimizer = optim.SGD(parameters, 0.1);
        var before = parameters.ConvertAll(Bits.Of);
        QuantizationAware.Prepare(
            module, new Recipe("all", [new RecipeRule("*", Int4)]) { Qat = new QatSettings { Estimator = GradientEstimator.StraightThrough } });

        using (var pause = CollectorPause.Begin())
        using (var scope = NewDisposeScope())
        {
            module.forward(Input(images: false, seed: 1)).square().mean().backward();
            optimizer.step();
        }

        Assert.All(module.parameters().Zip(before), pair => Assert.NotEqual(pair.Second, Bits.Of(pair.First)));
    }

    [Fact]
    public void PrepareFollowsRulesByName()
    {
        using var module = new SmallCnn();
        var prepared = QuantizationAware.Prepare(
            module, new Recipe("some", [new RecipeRule("conv1", null), new RecipeRule("features.*", Int4), new RecipeRule("fc", Int4, Static8)]));

        Assert.Equal(["features.depthwise", "features.inner.1", "fc"], prepared.Layers);
        Assert.Contains(module.named_modules(), child => child.name == "conv1" && child.module is Conv2d);
        Assert.Contains(module.named_modules(), child => child.name == "downsample.0" && child.module is Conv2d);
    }

    [Fact]
    public void PrepareTakesLayersAsTheyStandThatCanBeQuantizedAlready()
    {
        var layer = new QuantizableLinear(nn.Parameter(ones(2, 3)), nn.Parameter(zeros(2)));
        using var module = nn.Sequential(layer);
        QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)]));
        Assert.NotNull(layer.WeightQuantizer);
        Assert.Same(layer, module[0]);
    }

    [Fact]
    public void PrepareFoldsBatchNormsThatFollowAConvolution()
    {
        using var module = Create(images: true, seed: 1);
        using var input = Input(images: true, seed: 4);
        module.eval();
        using var expected = Evaluate(module, input);
        var wide = new QuantizationScheme(8, symmetric: true, Granularity.Channel);
        var prepared = QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", wide)]));

        Assert.Equal(["bn1", "downsample.1", "features.norm"], prepared.BatchNorms.Values.Order());
        using var actual = Evaluate(module, input);
        Assert.True((expected - actual).abs().max().item<float>() < 0.02 * expected.abs().max().item<float>());
        Assert.Equal(6, prepared.Convert().FloatTensors.Count(tensor => tensor.Name.EndsWith(".bias", StringComparison.Ordinal)) + 1);
    }

    [Fact]
    public void PrepareTrainsAFoldedConvolutionWithTheStatisticsOfTheBatch()
    {
        // Eight bits per channel are close enough to float for the statistics to be those of the float network.
        using var module = Create(images: true, seed: 1);
        using var reference = Create(images: true, seed: 1);
        using var input = Input(images: true, seed: 4);
        QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", new QuantizationScheme(8, true, Granularity.Channel))]));
        module.train();
        reference.train();
        using var expected = Evaluate(reference, input);
        using var actual = Evaluate(module, input);

        Assert.True((expected - actual).abs().max().item<float>() < 0.03 * expected.abs().max().item<float>());
        foreach (var (name, buffer) in reference.named_buffers().Where(item => item.name.Contains("running_", StringComparison.Ordinal)))
        {
            var found = Bits.Of(module.state_dict()[name]);
            Assert.All(Bits.Of(buffer).Zip(found), pair => Assert.Equal(pair.First, pair.Second, 0.02f));
        }

        Assert.Equal(1, module.state_dict()["bn1.num_batches_tracked"].item<long>());
    }

    [Fact]
    public void BeginStepFreezesBatchNormsWhenTheScheduleSays()
    {
        using var module = Create(images: true, seed: 1);
        using var input = Input(images: true, seed: 4);
        var settings = new QatSettings { Schedule = new QatSchedule { BatchNormFreeze = 0.5 } };
        var prepared = QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)]) { Qat = settings });
        module.train();
        prepared.BeginStep(2, 4);
        Evaluate(module, input).Dispose();
        var moved = Bits.Of(module.state_dict()["bn1.running_mean"]);
        prepared.BeginStep(3, 4);
        using var frozen = Evaluate(module, input);
        Bits.Equal(moved, module.state_dict()["bn1.running_mean"]);
        module.eval();
        using var evaluated = Evaluate(module, input);
        Bits.Equal(Bits.Of(evaluated), frozen);
        Assert.NotEqual(0, moved[0]);
    }

    [Fact]
    public void ForwardOfAFoldedBatchNormRefusesAnInputThatIsNotItsConvolutions()
    {
        using var module = new PreActivation();
        QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)]));
        using var input = randn(1, 2, 4, 4);
        var fault = Assert.Throws<NibbleException>(() => module.forward(input));
        Assert.Contains("'bn1'", fault.Message, StringComparison.Ordinal);
        Assert.Contains("FoldBatchNorms", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void PrepareFoldsOnlyNamedPairsWhenToldTo()
    {
        using var module = new PreActivation();
        var prepared = QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)]), new PrepareOptions { FoldBatchNorms = false });
        using var input = randn(1, 2, 4, 4);
        module.forward(input).Dispose();
        Assert.Empty(prepared.BatchNorms);

        using var named = new SmallCnn();
        var some = QuantizationAware.Prepare(
            named, new Recipe("all", [new RecipeRule("*", Int4)]),
            new PrepareOptions { FoldBatchNorms = false, BatchNorms = new Dictionary<string, string> { ["downsample.0"] = "downsample.1" } });
        Assert.Equal(["downsample.0"], some.BatchNorms.Keys);
    }

    [Fact]
    public void PrepareSaysWhichFieldCannotHoldAnotherLayer()
    {
        using var module = new TypedFields();
        var state = module.state_dict().Keys.ToList();
        var fault = Assert.Throws<NibbleException>(() => QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)])));
        Assert.Contains("'first' is stored in the field first of class TypedFields as Linear", fault.Message, StringComparison.Ordinal);
        Assert.Contains("'list.0' is stored in a ModuleList<Conv2d> as Conv2d", fault.Message, StringComparison.Ordinal);
        Assert.Contains("nn.Module<Tensor, Tensor>", fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("'free'", fault.Message, StringComparison.Ordinal);
        Assert.IsType<Linear>(module.Free);
        Assert.Equal(state, module.state_dict().Keys);
    }

    [Fact]
    public void PrepareRefusesALayerThatNothingHolds()
    {
        using var layer = nn.Linear(2, 2);
        using var module = new Captured(layer.forward);
        module.register_module("hidden", layer);
        var fault = Assert.Throws<NibbleException>(() => QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)])));
        Assert.Contains("'hidden' is registered in Captured", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void PrepareRefusesWhatItCannotDo()
    {
        using var root = nn.Linear(2, 2);
        Refused(root, "all", "the module itself is a Linear", new RecipeRule("*", Int4));
        using var relu = nn.Sequential(nn.ReLU());
        Refused(relu, "all", "has no Linear", new RecipeRule("*", Int4));
        using var cnn = new SmallCnn();
        Refused(cnn, "none", "matches none of the 5 layers of SmallCnn; their names look like 'conv1'", new RecipeRule("layers.*", Int4));
        Refused(cnn, "token", "input of the convolution 'conv1' per token",
            new RecipeRule("*", Int4, new ActivationRule(new QuantizationScheme(8, true, Granularity.Token))));
        using var shared = nn.Linear(2, 2);
        using var twice = nn.Sequential(("a", shared), ("b", shared));
        Refused(twice, "all", "the weight of 'a' is also 'b.weight'", new RecipeRule("*", Int4));
        var embedding = nn.Embedding(3, 2);
        var head = nn.Linear(2, 3);
        head.weight = embedding.weight!;
        using var tied = nn.Sequential(("embedding", embedding), ("head", head));
        Refused(tied, "all", "the weight of 'embedding' is also 'head.weight'", new RecipeRule("embedding", Int4));
        var faults = new PrepareOptions { BatchNorms = new Dictionary<string, string> { ["conv1"] = "fc" } };
        Assert.Contains("pairs 'conv1' with 'fc'",
            Assert.Throws<NibbleException>(() => QuantizationAware.Prepare(cnn, new Recipe("all", [new RecipeRule("*", Int4)]), faults)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void ConvertKeepsTheShapesOfWeightsAndNamesTheFoldedBatchNorms()
    {
        using var module = Create(images: true, seed: 1);
        var model = QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)])).Convert(seed: 3);
        QuantizedModelFile.Save(model, folder.File("artifact"));
        var read = QuantizedModelFile.Load(folder.File("artifact"));

        Assert.Equal([4, 2, 3, 3], read.Layers.Single(layer => layer.Name == "conv1").Shape!);
        Assert.Equal(18, read.Layers.Single(layer => layer.Name == "conv1").Weight.Columns);
        Assert.Null(read.Layers.Single(layer => layer.Name == "fc").Shape);
        Assert.Equal(["conv1.bias", "downsample.0.bias", "fc.bias", "features.depthwise.bias", "features.inner.1.bias"],
            read.FloatTensors.Select(tensor => tensor.Name).Order(StringComparer.Ordinal));
        Assert.Contains("\"conv1\":\"bn1\"", read.ConfigJson, StringComparison.Ordinal);
        Assert.Equal(3, read.Provenance.Seed);
    }

    [Fact]
    public void LoadRefusesAModuleOfAnotherClass()
    {
        using var module = Create(images: true, seed: 1);
        var model = QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)])).Convert();
        using var text = Create(images: false, seed: 1);
        Assert.Contains("not into a SmallText", Assert.Throws<NibbleException>(() => QuantizationAware.Load(text, model)).Message, StringComparison.Ordinal);
        using var fresh = new SmallCnn();
        var before = Bits.Of(fresh.state_dict()["fc.weight"]);
        Refuse(model with { FloatTensors = [.. model.FloatTensors.Skip(1)] }, "has no tensor");
        Refuse(model with { FloatTensors = [.. model.FloatTensors, model.FloatTensors[0] with { Name = "more" }] }, "has a tensor 'more'");
        Refuse(model with { Layers = [.. model.Layers.Select(layer => layer with { Shape = null })] },
            "has a weight of shape [4, 18] in 'conv1', expected [4, 2, 3, 3]");
        Refuse(model with { Layers = [model.Layers[0] with { Name = "conv9" }, .. model.Layers.Skip(1)] }, "has a layer 'conv9'");
        Refuse(model with { ConfigJson = "{}" }, "model_type torchsharp");
        Refuse(model with { ConfigJson = model.ConfigJson.Replace("bn1", "bn9", StringComparison.Ordinal) }, "'bn9'");
        Bits.Equal(before, fresh.state_dict()["fc.weight"]);

        void Refuse(QuantizedModel broken, string expected) =>
            Assert.Contains(expected, Assert.Throws<NibbleException>(() => QuantizationAware.Load(fresh, broken)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ConvertRefusesBuffersThatAnArtifactCannotHold()
    {
        using var module = new WithBuffer();
        var prepared = QuantizationAware.Prepare(module, new Recipe("all", [new RecipeRule("*", Int4)]));
        Assert.Contains("'positions' is a tensor of Int64", Assert.Throws<NibbleException>(() => prepared.Convert()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ForwardOfAConvolutionPadsAsTheOriginalDoes()
    {
        using var input = randn(2, 4, 7, 6);
        foreach (var mode in Enum.GetValues<PaddingModes>().Where(mode => mode != PaddingModes.Constant))
        {
            Same(nn.Conv2d(4, 6, (3, 2), stride: (2, 1), padding: (2, 1), dilation: (1, 2), padding_mode: mode, groups: 2));
        }

        Same(nn.Conv2d(4, 6, (3, 4), Padding.Same, dilation: (2, 1)));
        Same(nn.Conv2d(4, 6, 3, Padding.Valid));

        void Same(Conv2d original)
        {
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            Bits.Equal(Bits.Of(original.forward(input)), new QuantizableConv2d(original).forward(input));
        }
    }

    private static void Refused(nn.Module module, string name, string expected, RecipeRule rule) =>
        Assert.Contains(expected, Assert.Throws<NibbleException>(() => QuantizationAware.Prepare(module, new Recipe(name, [rule]))).Message,
            StringComparison.Ordinal);

    private static nn.Module<Tensor, Tensor> Create(bool images, int seed)
    {
        manual_seed(seed);
        return images ? new SmallCnn() : new SmallText();
    }

    private static Tensor Input(bool images, int seed)
    {
        manual_seed(seed);
        return images ? randn(8, 2, 8, 8) : randint(11, [4, 5], dtype: int64);
    }

    private static Tensor Evaluate(nn.Module<Tensor, Tensor> module, Tensor input)
    {
        using var guard = no_grad();
        using var pause = CollectorPause.Begin();
        return module.forward(input);
    }

    private static void Train(nn.Module<Tensor, Tensor> module, PreparedModel prepared, bool images, int steps)
    {
        module.train();
        using var optimizer = optim.Adam(prepared.Parameters, 1e-2);
        for (var step = 1; step <= steps; step++)
        {
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            prepared.BeginStep(step, steps);
            optimizer.zero_grad();
            (module.forward(Input(images, step)) - 1).square().mean().backward();
            optimizer.step();
        }
    }

    private sealed class PreActivation : nn.Module<Tensor, Tensor>
    {
        private readonly nn.Module<Tensor, Tensor> bn1 = nn.BatchNorm2d(2);
        private readonly nn.Module<Tensor, Tensor> conv1 = nn.Conv2d(2, 2, 3);

        public PreActivation()
            : base(nameof(PreActivation)) => RegisterComponents();

        public override Tensor forward(Tensor input) => conv1.forward(nn.functional.relu(bn1.forward(input)));
    }

    private sealed class TypedFields : nn.Module<Tensor, Tensor>
    {
        private readonly Linear first = nn.Linear(2, 2);
        private readonly ModuleList<Conv2d> list = new(nn.Conv2d(1, 1, 1));
        private readonly nn.Module free = nn.Linear(2, 2);

        public TypedFields()
            : base(nameof(TypedFields)) => RegisterComponents();

        public nn.Module Free => free;

        public override Tensor forward(Tensor input) => list[0].forward(first.forward(input));
    }

    private sealed class Captured(Func<Tensor, Tensor> compute) : nn.Module<Tensor, Tensor>(nameof(Captured))
    {
        public override Tensor forward(Tensor input) => compute(input);
    }

    private sealed class WithBuffer : nn.Module<Tensor, Tensor>
    {
        private readonly nn.Module<Tensor, Tensor> fc = nn.Linear(2, 2);
        private readonly Tensor positions = arange(3);

        public WithBuffer()
            : base(nameof(WithBuffer)) => RegisterComponents();

        public override Tensor forward(Tensor input) => fc.forward(input) + positions.sum();
    }
}
