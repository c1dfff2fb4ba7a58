using Nibble.Torch.Ptq.BlockWise;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq.Learned;
using Nibble.Torch.Ptq.Scaling;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>
/// Quantizes one unit in memory: determines activation ranges, rounds stage by stage, learns the rounding of the whole unit and corrects biases.
/// </summary>
/// <param name="recipe">What to do with each layer.</param>
/// <param name="training">How to train a block at the end. Null does not train it.</param>
/// <param name="seed">The seed for all random choices in this unit.</param>
/// <param name="device">The device of tensors.</param>
/// <param name="finished">Called after each finished layer.</param>
/// <param name="progress">Receives progress after each learning step.</param>
/// <param name="warn">Receives warnings.</param>
/// <param name="cancellation">Cancels between layers and batches.</param>
/// <param name="trials">Additional rounding of each layer's weights on trial. Null for none.</param>
internal sealed class UnitQuantizer(
    Recipe recipe,
    QatSettings? training,
    long seed,
    Device device,
    Action finished,
    IProgress<RunProgress>? progress,
    Action<string> warn,
    CancellationToken cancellation,
    TrialRounding? trials = null)
{
    /// <summary>The number of weights in a stage above which memory is returned to the system before the next stage.</summary>
    private const long LargeStage = 1 << 22;

    /// <summary>The duration of learning, which grows with its steps.</summary>
    public TimeSpan LearningTime { get; private set; }

    /// <summary>Quantizes a unit. Afterwards it computes the same as the quantized unit.</summary>
    /// <param name="unit">The float unit, which is changed in place.</param>
    /// <param name="inputs">The unit's inputs after quantized units. Null if the recipe uses no activations.</param>
    /// <param name="original">The same unit, which stays float, and its inputs in the float model. Null if the recipe needs neither.</param>
    /// <returns>The quantized layers, in the unit's order.</returns>
    public IReadOnlyList<QuantizedLayer> Quantize(QuantizationUnit unit, ActivationStream? inputs, (QuantizationUnit Unit, ActivationStream Inputs)? original)
    {
        var ranges = ActivationCalibration.Observe(unit.Linears, recipe, () => inputs!.ForEach(device, (_, x) => unit.Forward(x), cancellation));
        var early = recipe.Ptq.Sequential ? [] : unit.Stages.Select(stage => Collect(stage, Needs(stage), inputs, original)).ToList();
        List<QuantizedLayer> layers = [];
        for (var i = 0; i < unit.Stages.Count; i++)
        {
            var stage = unit.Stages[i];
            using var statistics = recipe.Ptq.Sequential ? Collect(stage, Needs(stage), inputs, original) : early[i];
            var factor = Factor(stage, statistics);
            foreach (var (name, linear) in stage.Linears)
            {
                cancellation.ThrowIfCancellationRequested();
                trials?.Run(name, trial => Round(name, linear, trial, statistics, factor));
                if (recipe.RuleFor(name) is not { } rule)
                {
                    continue;
                }

                var weight = Round(name, linear, rule, statistics, factor);
                var layer = new QuantizedLayer(
                    name, weight, ranges.GetValueOrDefault(
                    name))
                { InputTransform = linear.InputTransform is null ? InputTransform.None : InputTransform.Hadamard };
                Replace(name, linear, layer, rule, statistics);
                layers.Add(layer);
                finished();
            }

            if (stage.Linears.Sum(linear => linear.Value.Weight.numel()) > LargeStage)
            {
                MemoryRelease.Run();
            }
        }

        layers = Learn(unit, inputs, original, layers);
        return training is null || unit.IsHead || layers.Count == 0
            ? layers
            : new BlockTrainer(training, seed, progress, cancellation).Train(
                unit, original!.Value.Unit, new BlockReconstruction(unit, inputs!, original.Value.Unit, original.Value.Inputs, device, cancellation), layers);
    }

    /// <summary>Learns the rounding of the layers whose rules use learned rounding.</summary>
    private List<QuantizedLayer> Learn(
        QuantizationUnit unit, ActivationStream? inputs, (QuantizationUnit Unit, ActivationStream Inputs)? original, List<QuantizedLayer> layers)
    {
        var linears = unit.Linears.ToDictionary();
        var floats = original?.Unit.Linears.ToDictionary();
        List<LearningLayer> learning =
        [
            .. from layer in layers
               let algorithms = recipe.RuleFor(layer.Name)!.Algorithms
               where algorithms.Learning != RoundingLearning.None
               select new LearningLayer(layer.Name, linears[layer.Name], floats![layer.Name].Weight, layer.Weight, algorithms.Learning),
        ];
        if (learning.Count == 0)
        {
            return layers;
        }

        var learner = new RoundingLearner(recipe.Ptq, seed, device, progress, cancellation);
        var learned = learner.Learn(unit, inputs!, original!.Value.Unit, original.Value.Inputs, learning);
        LearningTime = learner.TrainingTime;
        var weights = learning.Zip(learned).ToDictionary(item => item.First.Name, item => item.Second);
        foreach (var stage in unit.Stages)
        {
            var corrected = stage.Linears.Where(linear => weights.ContainsKey(linear.Key) && recipe.RuleFor(linear.Key)!.Algorithms.BiasCorrection).ToList();
            if (corrected.Count == 0)
            {
                continue;
            }

            using var statistics = Collect(stage, StageNeeds.Mean, inputs, original);
            foreach (var (name, linear) in corrected)
            {
                CorrectBias(name, linear, floats![name].Weight, linear.Weight, statistics);
            }
        }

        return [.. layers.Select(layer => weights.TryGetValue(layer.Name, out var weight) ? layer with { Weight = weight } : layer)];
    }

    /// <summary>All algorithms applied to a layer's weights, including those on trial.</summary>
    private IEnumerable<WeightAlgorithms> Algorithms(string layer) =>
        new[] { recipe.RuleFor(layer) }.Concat(trials?.RulesFor(layer) ?? []).OfType<RecipeRule>().Select(rule => rule.Algorithms);

    private StageNeeds Needs(UnitStage stage) => stage.Linears
        .SelectMany(linear => Algorithms(linear.Key))
        .Aggregate(StageNeeds.None, (needs, algorithms) => needs
            | (algorithms is { BiasCorrection: true, Learning: RoundingLearning.None } ? StageNeeds.Mean : StageNeeds.None)
            | (algorithms.Scaling == ChannelScaling.Awq ? StageNeeds.Hessian : StageNeeds.None)
            | algorithms.Rounding switch
            {
                WeightRounding.ImportanceWeighted => StageNeeds.Importance,
                WeightRounding.Gptq => StageNeeds.Hessian,
                WeightRounding.Gptaq => StageNeeds.Hessian | StageNeeds.Difference,
                _ => StageNeeds.None,
            });

    private StageStatistics Collect(UnitStage stage, StageNeeds needs, ActivationStream? inputs, (QuantizationUnit Unit, ActivationStream Inputs)? original)
    {
        var statistics = new StageStatistics(needs);
        if (needs == StageNeeds.None)
        {
            return statistics;
        }

        try
        {
            var turn = stage.Linears[0].Value.InputTransform;
            var floatStage = original?.Unit.Stages[stage.Number];
            inputs!.ForEach(
                device,
                (first, x) =>
                {
                    using var pass = TokenMask.Begin(x.Mask);
                    var (input, residual) = stage.Trace(x);
                    if (!needs.HasFlag(StageNeeds.Difference))
                    {
                        statistics.Add(Rows(input), null, null);
                        return;
                    }

                    var (floatInput, floatResidual) = floatStage!.Trace(original!.Value.Inputs.Read(first, (int)x.Hidden.shape[0], device));
                    statistics.Add(Rows(input), Rows(floatInput), residual is null ? null : TokenMask.Rows(floatResidual! - residual));
                },
                cancellation);
            return statistics;

            Tensor Rows(Tensor input) => TokenMask.Rows(turn?.Apply(input) ?? input);
        }
        catch
        {
            statistics.Dispose();
            throw;
        }
    }

    /// <summary>The factorization that GPTQ needs for the layers of a stage. Null if GPTQ rounds none of them.</summary>
    private HessianFactor? Factor(UnitStage stage, StageStatistics statistics)
    {
        var roundings = stage.Linears.SelectMany(linear => Algorithms(linear.Key)).Select(algorithms => algorithms.Rounding).ToList();
        if (!roundings.Any(rounding => rounding is WeightRounding.Gptq or WeightRounding.Gptaq))
        {
            return null;
        }

        var factor = NamedFault.In(stage.Linears[0].Key, () =>
            statistics.Factor(recipe.Ptq, last: roundings.TrueForAll(rounding => rounding == WeightRounding.Gptq)));
        if (factor.Warning is { } warning)
        {
            warn($"{stage.Linears[0].Key}: {warning}");
        }

        return factor;
    }

    private QuantizedTensor Round(string name, QuantizableLinear linear, RecipeRule rule, StageStatistics statistics, HessianFactor? factor)
    {
        using var scope = NewDisposeScope();
        var (rows, columns, scheme) = (linear.OutFeatures, linear.InFeatures, rule.Weights!);
        var target = rule.Algorithms.Rounding == WeightRounding.Gptaq ? statistics.TowardsFloat(linear.Weight, recipe.Ptq) : linear.Weight.detach();

        // Read in place, because a copy of the largest layer would add to the peak memory.
        var held = target.cpu().contiguous();
        var weights = TensorMemory.Floats(held);
        try
        {
            return rule.Algorithms.Rounding switch
            {
                WeightRounding.RoundToNearest when rule is { Algorithms.Scaling: ChannelScaling.Awq, Range: WeightRange.Mse } =>
                    ActivationAwareClipping.Quantize(linear.Weight, statistics.Moments(), scheme),
                WeightRounding.RoundToNearest => RoundToNearest.Quantize(weights, rows, columns, scheme, rule.Range),
                WeightRounding.ImportanceWeighted => ImportanceWeighted.Quantize(weights, rows, columns, scheme, statistics.Importance()),
                WeightRounding.Hqq => Hqq.Quantize(weights, rows, columns, scheme),
                _ => Gptq.Quantize(
                    weights,
                    rows,
                    columns,
                    scheme,
                    factor!,
                    new GptqOptions { Range = rule.Range, WeighByImportance = true, Order = recipe.Ptq.ActivationOrder, Threads = get_num_threads() },
                    cancellation).Weight,
            };
        }
        catch (NibbleException exception)
        {
            // A lambda for NamedFault cannot capture the spans of the weights.
            throw new NibbleException($"{name}: {exception.Message}", exception);
        }
    }

    /// <summary>
    /// Makes a layer compute with its quantized weight. Its bias is corrected if the rule requires that and no learning precedes the correction.
    /// </summary>
    private void Replace(string name, QuantizableLinear linear, QuantizedLayer layer, RecipeRule rule, StageStatistics statistics)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var dequantized = empty(linear.Weight.shape);
        layer.Weight.Dequantize(TensorMemory.Floats(dequantized));
        if (rule.Algorithms is { BiasCorrection: true, Learning: RoundingLearning.None })
        {
            CorrectBias(name, linear, linear.Weight, dequantized.to(device), statistics);
        }

        linear.Weight.copy_(dequantized);
        linear.InputQuantizer = InputQuantizers.Create(layer.Input);
    }

    /// <summary>Subtracts the mean error of a layer's output from its bias, <c>(W - Q) E[x]</c> (Nagel et al. 2019, section 4.2).</summary>
    private void CorrectBias(string name, QuantizableLinear linear, Tensor weight, Tensor dequantized, StageStatistics statistics)
    {
        if (linear.Bias is not { } bias)
        {
            warn($"{name} has no bias to correct");
            return;
        }

        using var guard = no_grad();
        using var scope = NewDisposeScope();
        bias.AddInPlace((weight - dequantized).matmul(statistics.Mean()));
    }
}
