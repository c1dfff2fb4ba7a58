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
/// <param name="Rule">The recipe's rule for the layer.</param>
/// <param name="Weight">The fake quantizer of its weight.</param>
/// <param name="Input">The fake quantizer of its input. Null if the input stays float.</param>
internal sealed record PreparedLayer(string Name, IQuantizableLayer Layer, RecipeRule Rule, WeightFakeQuantizer Weight, ITensorQuantizer? Input)
{
    /// <summary>Whether training changes the weight. If not, the weight keeps its codes from PTQ.</summary>
    public bool TrainsWeight => Weight is not FrozenWeight;

    public IEnumerable<Parameter> ScaleParameters => Weight.Parameters.Concat((Input as InputFakeQuantizer)?.Parameters ?? []);

    /// <summary>Enables or disables the fake quantizers.</summary>
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

/// <summary>Options for preparing a module for quantization-aware training: initial values and what is known about the module.</summary>
public sealed record PrepareOptions
{
    /// <summary>
    /// Quantized weights by layer, whose scales and zero points are the initial values. A layer that is missing here starts with those of least squared error.
    /// A layer whose weights have the method ptq keeps the whole quantized weight. If it is missing here, it is rounded to nearest.
    /// </summary>
    public IReadOnlyDictionary<string, QuantizedTensor> Weights { get; init; } = new Dictionary<string, QuantizedTensor>();

    /// <summary>The seed for random initial values, which adapters have. Default: 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>
    /// Calibrated parameters of static inputs by layer. A layer that is missing here starts with the range of the first input that it receives.
    /// </summary>
    public IReadOnlyDictionary<string, ActivationQuantization> Inputs { get; init; } = new Dictionary<string, ActivationQuantization>();

    /// <summary>
    /// The batch normalization (value) to fold into each convolution (key), in addition to those that <see cref="FoldBatchNorms"/> finds.
    /// </summary>
    public IReadOnlyDictionary<string, string> BatchNorms { get; init; } = new Dictionary<string, string>();

    /// <summary>
    /// Whether to fold a batch normalization into a convolution if it follows the convolution in a Sequential, or if it is a sibling with the convolution's
    /// name in which <c>bn</c> replaces <c>conv</c>. Default: true.
    /// </summary>
    public bool FoldBatchNorms { get; init; } = true;
}

/// <summary>A module whose layers compute through fake quantizers, so that training adapts it to its quantization grid.</summary>
/// <remarks>It computes the same in evaluation as in training, and <see cref="ConvertLayers"/> does not change its output.</remarks>
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

        // Parameters that stay float adapt to weights that move. With frozen weights they keep their values, unless they have their own rate.
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

    /// <summary>The recipe, with the training settings.</summary>
    public Recipe Recipe { get; }

    /// <summary>The names of the quantized layers.</summary>
    public IReadOnlyList<string> Layers => [.. layers.Select(layer => layer.Name)];

    /// <summary>The learned scales and zero points. They need their own learning rate and no weight decay.</summary>
    public IEnumerable<Parameter> ScaleParameters => layers.SelectMany(layer => layer.ScaleParameters);

    /// <summary>
    /// The trained parameters except the scales. Depending on the mode and the methods, these are the module's parameters without the weights that PTQ chose,
    /// the adapters, or none.
    /// </summary>
    public IEnumerable<Parameter> WeightParameters => Recipe.Qat.Mode == TrainingMode.Full ? Module.parameters().Where(parameter => parameter.requires_grad)
        : layers.SelectMany(layer => (layer.Weight as AdaptedWeight)?.Adapters ?? []);

    /// <summary>All parameters that training changes.</summary>
    public IEnumerable<Parameter> Parameters => WeightParameters.Concat(ScaleParameters);

    /// <summary>What happens to each layer, with warnings for the user.</summary>
    public RunSummary Summary { get; internal init; } = RunSummary.Empty;

    internal IReadOnlyList<PreparedLayer> Prepared => layers;

    /// <summary>The method in an artifact's provenance. In a hybrid, PTQ handles the weights or inputs of some layers.</summary>
    internal string MethodName => Recipe.IsHybrid ? "hybrid" : "qat";

    /// <summary>The state that training changes besides <see cref="Parameters"/>. A checkpoint has to hold it.</summary>
    internal IEnumerable<ITrainingState> States => layers.SelectMany(layer => new[] { layer.Weight, layer.Input as ITrainingState }).OfType<ITrainingState>();

    /// <summary>The batch normalization that is folded into each convolution.</summary>
    internal IReadOnlyDictionary<string, string> BatchNorms { get; init; } = new Dictionary<string, string>();

    private QatSchedule Schedule => Recipe.Qat.Schedule;

    /// <summary>Enables and disables quantizers according to the recipe's schedule. With a schedule, call it before each training step.</summary>
    /// <param name="step">The step, from 1.</param>
    /// <param name="steps">The total number of steps.</param>
    public void BeginStep(int step, int steps)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(steps, step);
        Follow((step - 1d) / steps);
    }

    /// <summary>Enables all quantizers with the recipe's schemes and freezes observed ranges. The model then computes the same as its converted form.</summary>
    public void Complete() => Follow(double.PositiveInfinity);

    /// <summary>
    /// The penalty for weights that are off the middle of their step, summed over all layers. It damps oscillation between two codes (Nagel et al. 2022,
    /// equation 6).
    /// </summary>
    /// <returns>A scalar with a gradient only for the weights.</returns>
    public Tensor Dampening()
    {
        using var scope = NewDisposeScope();
        var sum = zeros(1);
        foreach (var layer in layers.Where(layer => layer.Layer.WeightQuantizer is not null))
        {
            sum = sum.Plus(layer.Weight.Dampening(layer.Layer.FoldedWeight));
        }

        return sum.MoveToOuterDisposeScope();
    }

    /// <summary>The quantized layers. They compute the same as the trained ones after <see cref="Complete"/>.</summary>
    /// <exception cref="InvalidOperationException">A static input has received no batch yet, so its range is unknown.</exception>
    public IReadOnlyList<QuantizedLayer> ConvertLayers()
    {
        Complete();
        return layers.ConvertAll(layer => !Recipe.IsHybrid ? layer.Convert() : layer.Convert() with
        {
            WeightMethod = layer.Rule.WeightMethod ?? Method.Qat,
            InputMethod = layer.Input is InputFakeQuantizer ? layer.Rule.ActivationMethod ?? Method.Qat : null,
        });
    }

    /// <summary>Sets the initial ranges of static inputs to those that the observers of their rules find in calibration data.</summary>
    /// <param name="feed">
    /// Runs calibration data through the module, which is in evaluation mode and in float during the call. Called once, and only if an input is static.
    /// </param>
    /// <exception cref="NibbleException">The data never reach a static input, or are not finite there.</exception>
    public void Calibrate(Action feed) => ModuleCalibration.Run(this, feed);

    /// <summary>Sets the initial ranges of static inputs to those that the observers of their rules find in batches of inputs.</summary>
    /// <param name="batches">
    /// Inputs of the module. They are read once, and only if an input of a layer is static. Each is disposed after use.
    /// </param>
    /// <exception cref="NibbleException">The module takes more than one tensor, or an input is not finite.</exception>
    public void Calibrate(IEnumerable<Tensor> batches) => Calibrate(() =>
    {
        ArgumentNullException.ThrowIfNull(batches);
        var module = Module as nn.Module<Tensor, Tensor>
            ?? throw new NibbleException($"{Module.GetType().Name} does not take and return a single tensor. Pass {nameof(Calibrate)} a function that runs it");
        foreach (var batch in batches)
        {
            using var scope = NewDisposeScope();
            using (batch)
            {
                module.forward(batch);
            }
        }
    });

    /// <summary>
    /// Converts the module into a quantized model, which computes the same as the trained module in evaluation. See <see cref="QuantizationAware.Load"/>.
    /// </summary>
    /// <param name="seed">The seed of the training, recorded in the model. Default: 0.</param>
    /// <param name="metrics">Metrics measured in training, by name, recorded in the model. Default: null, none.</param>
    /// <exception cref="InvalidOperationException">A static input has received no batch yet, so its range is unknown.</exception>
    /// <exception cref="NibbleException">The module has a buffer that is not of a floating-point type.</exception>
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

    /// <summary>The scheme in effect when the given share of the steps has passed since the layer was first quantized.</summary>
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
                $"the rule for {rule.Pattern} chooses the weights of '{name}' by {string.Join(", ", rule.Algorithms.Names)}. This needs a model whose blocks "
                + $"Nibble supports. Pass the solution in {nameof(PrepareOptions)}.{nameof(PrepareOptions.Weights)}, or use rtn");
        }

        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var weight = layer.FoldedWeight;
        var rows = (int)weight.shape[0];
        return RoundToNearest.Quantize(Conversion.ValuesOf(weight), rows, (int)(weight.numel() / rows), rule.Weights!, rule.Range);
    }

    /// <summary>The rule of a layer. Embeddings look up rows and have no input to quantize.</summary>
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
