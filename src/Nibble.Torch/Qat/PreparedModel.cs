using Nibble.Torch.Training;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Qat.Adapters;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>A layer of a prepared model with its fake quantizers.</summary>
/// <param name="Name">The module's name.</param>
/// <param name="Layer">The layer itself.</param>
/// <param name="Rule">What the recipe says of it.</param>
/// <param name="Weight">Its weight's fake quantizer.</param>
/// <param name="Input">Its input's; null where the input stays float.</param>
internal sealed record PreparedLayer(string Name, IQuantizableLayer Layer, RecipeRule Rule, WeightFakeQuantizer Weight, ITensorQuantizer? Input)
{
    /// <summary>Whether training changes the weight, or it stays on the grid that post-training quantization has put it on.</summary>
    public bool TrainsWeight => Weight is not FrozenWeight;

    public IEnumerable<Parameter> ScaleParameters => Weight.Parameters.Concat((Input as InputFakeQuantizer)?.Parameters ?? []);

    /// <summary>Puts the fake quantizers in or takes them out.</summary>
    public void Enable(bool weight, bool input)
    {
        Layer.WeightQuantizer = weight ? Weight : null;
        Layer.InputQuantizer = input ? Input : null;
    }

    public QuantizedLayer Convert()
    {
        using var pause = CollectorPause.Begin();
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        return new QuantizedLayer(Name, Weight.Convert(Layer.FoldedWeight), Input switch
        {
            null => null,
            InputFakeQuantizer input => input.Convert(),
            _ => new ActivationQuantization(Rule.Activations!.Scheme, Static: null),
        })
        {
            Shape = Layer.Weight.dim() == 2 ? null : [.. Layer.Weight.shape.Select(size => (int)size)],
        };
    }
}

/// <summary>What quantization-aware training begins with, where something is known beforehand.</summary>
public sealed record PrepareOptions
{
    /// <summary>Quantized weights by layer, whose scales and zero points training begins with; a layer that is missing begins with the least squared error. A
    /// layer whose weights have the method ptq keeps all of it, and is rounded to nearest where it is missing.</summary>
    public IReadOnlyDictionary<string, QuantizedTensor> Weights { get; init; } = new Dictionary<string, QuantizedTensor>();

    /// <summary>Drives what is drawn: the adapters.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Calibrated parameters of static inputs by layer; a layer that is missing begins with the range of the first input it sees.</summary>
    public IReadOnlyDictionary<string, ActivationQuantization> Inputs { get; init; } = new Dictionary<string, ActivationQuantization>();

    /// <summary>Which batch normalization (value) is folded into which convolution (key), beside those that <see cref="FoldBatchNorms"/> finds.</summary>
    public IReadOnlyDictionary<string, string> BatchNorms { get; init; } = new Dictionary<string, string>();

    /// <summary>Whether a batch normalization is folded into a convolution where it comes next in a Sequential, or has its name with <c>bn</c> for <c>conv</c>
    /// beside it.</summary>
    public bool FoldBatchNorms { get; init; } = true;
}

/// <summary>A module whose layers compute through fake quantizers, so that training adapts it to its grid.</summary>
/// <remarks>It evaluates as it is trained, and <see cref="ConvertLayers"/> changes nothing that it computes.</remarks>
public sealed class PreparedModel
{
    private readonly List<PreparedLayer> layers = [];

    internal PreparedModel(nn.Module module, IEnumerable<KeyValuePair<string, IQuantizableLayer>> candidates, Recipe recipe, QatSettings settings,
        PrepareOptions options)
    {
        settings.Validate();
        Module = module;
        Recipe = recipe with { Qat = settings };
        foreach (var (name, layer) in candidates)
        {
            if (RuleFor(recipe, name, layer) is { } rule)
            {
                using var scope = NewDisposeScope();
                var weight = NamedFault.In(name, () =>
                    WeightQuantizer(name, rule, settings, layer, options.Weights.GetValueOrDefault(name), options.Seed + layers.Count));
                var prepared = new PreparedLayer(name, layer, rule, weight, InputQuantizer(rule, settings, options.Inputs.GetValueOrDefault(name)));
                prepared.Enable(weight: true, input: true);
                layers.Add(prepared);
            }
        }

        // What stays float adapts to weights that move; beside frozen ones it stays what they were solved for, unless it is given a rate of its own.
        var frozen = layers.Count > 0 && !layers.Exists(layer => layer.TrainsWeight);
        if (settings.Mode != TrainingMode.Full || (frozen && settings.FloatLearningRate is null or 0))
        {
            foreach (var parameter in module.parameters())
            {
                parameter.requires_grad_(false);
            }
        }
    }

    /// <summary>The module.</summary>
    public nn.Module Module { get; }

    /// <summary>The recipe that was followed, with the settings of the training.</summary>
    public Recipe Recipe { get; }

    /// <summary>The names of the layers that are quantized.</summary>
    public IReadOnlyList<string> Layers => [.. layers.Select(layer => layer.Name)];

    /// <summary>The learned scales and zero points, which want a learning rate of their own and no weight decay.</summary>
    public IEnumerable<Parameter> ScaleParameters => layers.SelectMany(layer => layer.ScaleParameters);

    /// <summary>What is trained beside the scales: the module's parameters but for weights that post-training quantization chose, adapters, or nothing, as mode
    /// and methods say.</summary>
    public IEnumerable<Parameter> WeightParameters => Recipe.Qat.Mode == TrainingMode.Full ? Module.parameters().Where(parameter => parameter.requires_grad)
        : layers.SelectMany(layer => (layer.Weight as AdaptedWeight)?.Adapters ?? []);

    /// <summary>All that training changes.</summary>
    public IEnumerable<Parameter> Parameters => WeightParameters.Concat(ScaleParameters);

    /// <summary>What is done with each layer, and what the user should know.</summary>
    public RunSummary Summary { get; internal init; } = RunSummary.Empty;

    internal IReadOnlyList<PreparedLayer> Prepared => layers;

    /// <summary>What an artifact's provenance calls the method: a hybrid leaves some sides of layers to post-training quantization.</summary>
    internal string MethodName => Recipe.IsHybrid ? "hybrid" : "qat";

    /// <summary>What training changes besides <see cref="Parameters"/>, which a checkpoint has to hold.</summary>
    internal IEnumerable<ITrainingState> States => layers.SelectMany(layer => new[] { layer.Weight, layer.Input as ITrainingState }).OfType<ITrainingState>();

    /// <summary>The batch normalization that is folded into each convolution.</summary>
    internal IReadOnlyDictionary<string, string> BatchNorms { get; init; } = new Dictionary<string, string>();

    private QatSchedule Schedule => Recipe.Qat.Schedule;

    /// <summary>Switches quantizers on and off as the recipe's schedule says; call it before each step of a training with a schedule.</summary>
    /// <param name="step">The step, from 1.</param>
    /// <param name="steps">How many steps there will be.</param>
    public void BeginStep(int step, int steps)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(steps, step);
        Follow((step - 1d) / steps);
    }

    /// <summary>Switches all quantizers on, with the recipe's schemes, and freezes observed ranges: the model is as it will be converted.</summary>
    public void Complete() => Follow(double.PositiveInfinity);

    /// <summary>The penalty of weights that lie off the middle of their step, which damps oscillation between two codes (Nagel et al. 2022, equation 6), summed
    /// over all layers.</summary>
    /// <returns>A scalar with a gradient for the weights alone.</returns>
    public Tensor Dampening()
    {
        using var scope = NewDisposeScope();
        var sum = zeros(1);
        foreach (var layer in layers.Where(layer => layer.Layer.WeightQuantizer is not null))
        {
            sum = sum + layer.Weight.Dampening(layer.Layer.FoldedWeight);
        }

        return sum.MoveToOuterDisposeScope();
    }

    /// <summary>The quantized layers, which compute what the trained ones compute once the schedule is <see cref="Complete"/>.</summary>
    /// <exception cref="InvalidOperationException">A static input has seen no batch yet, so that its range is unknown.</exception>
    public IReadOnlyList<QuantizedLayer> ConvertLayers()
    {
        Complete();
        return layers.ConvertAll(layer => !Recipe.IsHybrid ? layer.Convert() : layer.Convert() with
        {
            WeightMethod = layer.Rule.WeightMethod ?? Method.Qat,
            InputMethod = layer.Input is InputFakeQuantizer ? layer.Rule.ActivationMethod ?? Method.Qat : null,
        });
    }

    /// <summary>Lets static inputs begin with the ranges that the observers of their rules find on calibration data.</summary>
    /// <param name="feed">Runs calibration data through the module, which is in evaluation and in float meanwhile; called once, and only where an input is
    /// static.</param>
    /// <exception cref="NibbleException">The data never reaches a static input, or it is not finite there.</exception>
    public void Calibrate(Action feed) => ModuleCalibration.Run(this, feed);

    /// <summary>Lets static inputs begin with the ranges that the observers of their rules find on batches of inputs.</summary>
    /// <param name="batches">Inputs of the module, read once, and only where an input of a layer is static. Each is disposed.</param>
    /// <exception cref="NibbleException">The module takes more than a tensor, or an input is not finite.</exception>
    public void Calibrate(IEnumerable<Tensor> batches) => Calibrate(() =>
    {
        ArgumentNullException.ThrowIfNull(batches);
        var module = Module as nn.Module<Tensor, Tensor>
            ?? throw new NibbleException($"{Module.GetType().Name} does not take and yield one tensor; give {nameof(Calibrate)} a function that runs it");
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            using (batch)
            {
                module.forward(batch);
            }
        }
    });

    /// <summary>The quantized model of any module, which computes what the trained module computes in evaluation; see
    /// <see cref="QuantizationAware.Load"/>.</summary>
    /// <param name="seed">The seed of the training, noted in the model.</param>
    /// <param name="metrics">What was measured in training, by name, noted in the model.</param>
    /// <exception cref="InvalidOperationException">A static input has seen no batch yet, so that its range is unknown.</exception>
    /// <exception cref="NibbleException">The module holds a buffer that is not of a floating-point type.</exception>
    public QuantizedModel Convert(long seed = 0, IReadOnlyDictionary<string, double>? metrics = null) =>
        ModuleConversion.Convert(this, Recipe, MethodName, seed, metrics ?? new Dictionary<string, double>());

    private void Follow(double share)
    {
        for (var i = 0; i < layers.Count; i++)
        {
            var layer = layers[i];
            var start = Schedule.FloatShare + (Schedule.Gradual * i / layers.Count);
            layer.Enable(weight: share >= start, input: share >= Math.Max(start, Schedule.ActivationDelay));
            using (NewDisposeScope())
            {
                layer.Weight.ChangeScheme(SchemeAt(layer.Rule.Weights!, share - start), layer.Layer.FoldedWeight);
            }

            if (layer.Layer is QuantizableConv2d { BatchNorm: { } norm })
            {
                norm.Frozen = !layer.TrainsWeight || share >= Schedule.BatchNormFreeze;
            }

            if (layer.Input is InputFakeQuantizer input)
            {
                input.Frozen = share >= Schedule.ObserverFreeze;
            }
        }
    }

    /// <summary>The scheme in force, a share of the steps after the layer was first quantized.</summary>
    private QuantizationScheme SchemeAt(QuantizationScheme scheme, double share)
    {
        var widths = new List<int>();
        for (var bits = Schedule.AnnealFrom; bits > scheme.Bits || (scheme.Format == CodeFormat.Ternary && bits == scheme.Bits); bits /= 2)
        {
            widths.Add(bits);
        }

        var part = widths.Count * Math.Max(share, 0) / Schedule.AnnealingShare;
        return !(part < widths.Count) ? scheme
            : new QuantizationScheme(widths[(int)part], scheme.Symmetric, scheme.Granularity) { ScalePrecision = scheme.ScalePrecision };
    }

    private static WeightFakeQuantizer WeightQuantizer(
        string name, RecipeRule rule, QatSettings settings, IQuantizableLayer layer, QuantizedTensor? solution, long seed)
    {
        if (rule.WeightMethod == Method.Ptq)
        {
            return new FrozenWeight(layer, solution ?? Round(name, rule, layer));
        }

        var scheme = rule.Weights!;
        switch (settings.Mode)
        {
            case TrainingMode.Full:
                return WeightFakeQuantizer.Create(settings.Estimator, scheme, layer.FoldedWeight, solution);
            case TrainingMode.BlockWise or TrainingMode.Scales:
                TransientWeight.Release(layer);
                return new FrozenCodes(solution!);
            case TrainingMode.Adapters or TrainingMode.AdaptersOnNormalFloat:
                using (var generator = new Generator((ulong)seed))
                {
                    return AdaptedWeight.Create(settings, scheme, layer, solution, generator);
                }

            default:
                throw new ArgumentOutOfRangeException(nameof(settings), settings.Mode, null);
        }
    }

    private static QuantizedTensor Round(string name, RecipeRule rule, IQuantizableLayer layer)
    {
        if (rule.Algorithms != WeightAlgorithms.RoundToNearest)
        {
            throw new NibbleException(
                $"the rule for {rule.Pattern} chooses the weights of '{name}' by {string.Join(", ", rule.Algorithms.Names)}, which needs a model whose blocks "
                + $"Nibble knows; give their solution in {nameof(PrepareOptions)}.{nameof(PrepareOptions.Weights)}, or use rtn");
        }

        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var weight = layer.FoldedWeight;
        var rows = (int)weight.shape[0];
        return RoundToNearest.Quantize(Conversion.ValuesOf(weight), rows, (int)(weight.numel() / rows), rule.Weights!, rule.Range);
    }

    /// <summary>The rule of a layer. Embeddings look up and have no input that could be quantized.</summary>
    private static RecipeRule? RuleFor(Recipe recipe, string name, IQuantizableLayer layer) =>
        recipe.RuleFor(name) is { } rule ? layer is QuantizableEmbedding ? rule with { Activations = null } : rule : null;

    private static ITensorQuantizer? InputQuantizer(RecipeRule rule, QatSettings settings, ActivationQuantization? calibrated)
    {
        if (rule.Activations is not { Scheme: var scheme })
        {
            return null;
        }

        if (scheme.Granularity is PerToken)
        {
            return new DynamicInputQuantizer(scheme);
        }

        var quantizer = rule.ActivationMethod == Method.Ptq ? new ObservedInputQuantizer(scheme, follows: false)
            : InputFakeQuantizer.Create(settings.Activations, scheme);
        if (calibrated?.Static is { } start)
        {
            quantizer.Start(start);
        }

        return quantizer;
    }
}
