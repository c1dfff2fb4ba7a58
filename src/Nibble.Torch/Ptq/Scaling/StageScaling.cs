using Nibble.Torch.Calibration;
using Nibble.Files;
using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Scaling;

/// <summary>The result of searching a stage's scaling.</summary>
/// <param name="Exponent">The chosen exponent. Null if no scaling was best.</param>
/// <param name="ErrorBefore">The summed squared error of the stage's outputs without scaling.</param>
/// <param name="Error">The same with the chosen scaling. At most <paramref name="ErrorBefore"/>.</param>
internal sealed record ScalingResult(double? Exponent, double ErrorBefore, double Error);

/// <summary>Moves factors between the layers of a stage and the producer of their input, so that rounding causes less error: AWQ and SmoothQuant.</summary>
/// <remarks>
/// <para>AWQ (Lin et al. 2023, equations 4 and 5): <c>s = mean|x|^a</c> for each channel. SmoothQuant (Xiao et al. 2022, equation 4):
/// <c>s = max|x|^a / max|w|^(1 - a)</c>, with the largest weight of the channel in all layers of the stage. Both are divided by <c>sqrt(max s x min s)</c>. The
/// exponent a is searched from 0 to 1 in equal steps. The best one gives the lowest squared error of the stage's outputs with weights rounded to nearest and
/// inputs quantized according to the rules. No scaling is always tried and wins ties, so the error never increases.</para>
/// <para>If inputs stay float, the error over all calibration tokens is <c>tr(dW H dW^T)</c> with <c>H = X^T X</c>. If they are quantized, it is computed on a
/// sample of the tokens. The range of statically quantized inputs is then taken to be from their lowest to their highest value.</para>
/// </remarks>
internal static class StageScaling
{
    /// <summary>Finds the best scaling of a stage and folds it into a block.</summary>
    /// <param name="stage">
    /// The stage. Its producer must accept channel factors. The stage is changed in place and computes the same afterwards. A stage whose layers rotate their
    /// input is left unchanged, because its channels are mixtures of those that could be scaled.
    /// </param>
    /// <param name="inputs">The block's inputs for the calibration data.</param>
    /// <param name="rules">
    /// The rule of each layer of the stage by its name. All must have the same <see cref="WeightAlgorithms.Scaling"/>, which is not none.
    /// </param>
    /// <param name="settings">The settings, which define the number of steps of the search.</param>
    /// <param name="storedAs">
    /// The element type of the producer's stored parameter (<see cref="IChannelProducer.Stored"/>) in the checkpoint, to which it is rounded. Unused if there
    /// is none.
    /// </param>
    /// <param name="device">The device of the block.</param>
    /// <param name="cancellation">Cancels between batches and candidates.</param>
    /// <returns>The result. Null for a stage that was left unchanged.</returns>
    /// <exception cref="NibbleException">A weight or an input is not finite, or a scale does not fit its stored precision.</exception>
    public static ScalingResult? Apply(
        UnitStage stage,
        ActivationStream inputs,
        IReadOnlyDictionary<string, RecipeRule> rules,
        PtqSettings settings,
        ElementType storedAs,
        Device device,
        CancellationToken cancellation)
    {
        var producer = stage.Producer ?? throw new ArgumentException("This stage has no producer that accepts channel factors.", nameof(stage));
        var scaling = rules[stage.Linears[0].Key].Algorithms.Scaling;
        if (scaling == ChannelScaling.None || stage.Linears.Any(layer => rules[layer.Key].Algorithms.Scaling != scaling))
        {
            throw new ArgumentException("The layers of a stage share their input, so their rules must name the same scaling.", nameof(rules));
        }

        if (stage.Linears.Any(layer => layer.Value.InputTransform is not null))
        {
            return null;
        }

        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var sampled = stage.Linears.Any(layer => rules[layer.Key].Activations is not null);
        var statistics = new StageInputStatistics(stage, inputs, sampled, device, cancellation);
        if (!statistics.IsFinite)
        {
            throw new NibbleException(
                $"{stage.Linears[0].Key}: the layer's inputs are NaN, infinite or too large to be squared. The model overflows on the calibration "
                + "text");
        }

        using var pause = CollectorPause.Begin();
        Layer[] layers = [.. stage.Linears.Select(layer =>
            new Layer(layer.Key, layer.Value.Weight, rules[layer.Key], statistics.Sample?.matmul(layer.Value.Weight.t())))];
        var before = Error(layers, ones_like(statistics.Max), statistics);
        var best = new ScalingResult(null, before, before);
        Tensor? chosen = null;

        // AWQ's exponent 0 means no scaling. SmoothQuant's exponent 0 equalizes the weights.
        for (var i = scaling == ChannelScaling.Awq ? 1 : 0; i <= settings.ScalingGrid; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var step = NewDisposeScope();
            var exponent = (double)i / settings.ScalingGrid;
            var channels = producer.Realize(Factors(stage, scaling, exponent, statistics), storedAs);
            var error = Error(layers, producer.Spread(channels), statistics);
            if (error < best.Error)
            {
                best = new ScalingResult(exponent, before, error);
                chosen = channels.MoveToOuterDisposeScope();
            }
        }

        if (chosen is not null)
        {
            Fold(stage, chosen, storedAs);
        }

        return best;
    }

    /// <summary>Divides the producer and multiplies the layers.</summary>
    internal static void Fold(UnitStage stage, Tensor channels, ElementType storedAs)
    {
        stage.Producer!.Divide(channels, storedAs);
        var columns = stage.Producer.Spread(channels);
        foreach (var (_, linear) in stage.Linears)
        {
            linear.Weight.mul_(columns);
        }
    }

    private static Tensor Factors(UnitStage stage, ChannelScaling scaling, double exponent, StageInputStatistics statistics)
    {
        var producer = stage.Producer!;

        // The lower bounds are those of the papers' programs. They only affect channels that are always zero.
        Tensor factors;
        if (scaling == ChannelScaling.Awq)
        {
            factors = producer.Tie(statistics.MeanMagnitude, Mean).Power(exponent).ClampMin(1e-4);
        }
        else
        {
            var weights = producer.Tie(stack(stage.Linears.Select(layer => layer.Value.Weight.abs().amax([0]))).amax([0]), Max).ClampMin(1e-5);
            factors = producer.Tie(maximum(statistics.Max, -statistics.Min), Max).ClampMin(1e-5).Power(exponent) / weights.Power(1 - exponent);
        }

        return factors / (factors.max() * factors.min()).sqrt();

        static Tensor Mean(Tensor x, int axis) => x.mean([axis]);
        static Tensor Max(Tensor x, int axis) => x.amax([axis]);
    }

    /// <summary>The summed squared error of the outputs if the columns are multiplied by factors.</summary>
    private static double Error(Layer[] layers, Tensor columns, StageInputStatistics statistics)
    {
        using var scope = NewDisposeScope();
        if (statistics.Hessian is { } hessian)
        {
            return layers.Sum(layer =>
            {
                var difference = (layer.Round(columns) / columns) - layer.Weight;
                return (difference.matmul(hessian) * difference).sum(ScalarType.Float64).item<double>();
            });
        }

        var scaled = statistics.Sample! / columns;
        var range = new ValueRange((statistics.Min / columns).min().item<float>(), (statistics.Max / columns).max().item<float>());
        return layers.Sum(layer =>
            (layer.QuantizeInput(scaled, range).matmul(layer.Round(columns).t()) - layer.Output!).Square().sum(ScalarType.Float64).item<double>());
    }

    /// <summary>A layer's float weight with its rule, and its output for the sampled inputs.</summary>
    private sealed record Layer(string Name, Tensor Weight, RecipeRule Rule, Tensor? Output)
    {
        /// <summary>The rounded weight with its columns multiplied by factors.</summary>
        public Tensor Round(Tensor columns)
        {
            using var scope = NewDisposeScope();
            var values = Conversion.ValuesOf(Weight * columns);
            var codes = NamedFault.In(Name, () => RoundToNearest.Quantize(values, (int)Weight.shape[0], (int)Weight.shape[1], Rule.Weights!, Rule.Range));
            return tensor(codes.Dequantize(), codes.Rows, codes.Columns, device: Weight.device).MoveToOuterDisposeScope();
        }

        public Tensor QuantizeInput(Tensor x, ValueRange range)
        {
            switch (Rule.Activations)
            {
                case null:
                    return x;
                case { Scheme: { Granularity: PerToken } scheme }:
                    return new DynamicInputQuantizer(scheme).Apply(x);
                case { Scheme: var scheme }:
                    using (var quantizer = new StaticInputQuantizer(scheme, QuantizationParameters.FromRange(range, scheme)))
                    {
                        return quantizer.Apply(x);
                    }
            }
        }
    }
}
