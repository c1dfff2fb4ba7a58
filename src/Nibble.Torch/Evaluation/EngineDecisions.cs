using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>How an engine's codes of the inputs of layers compare with the simulation's.</summary>
/// <param name="Codes">Codes compared.</param>
/// <param name="Ties">Those that differ by one, where the simulation's value lies within <see cref="EngineDecisions.Tolerance"/> of the middle between the two.</param>
/// <param name="Mismatches">Those that differ otherwise, or whose scale or zero point does.</param>
/// <param name="Farthest">How far from the middle the farthest of the ties lies, in steps.</param>
public readonly record struct CodeComparison(long Codes, long Ties, long Mismatches, double Farthest)
{
    /// <summary>Both comparisons together.</summary>
    public static CodeComparison operator +(CodeComparison left, CodeComparison right) =>
        new(left.Codes + right.Codes, left.Ties + right.Ties, left.Mismatches + right.Mismatches, Math.Max(left.Farthest, right.Farthest));

    /// <inheritdoc cref="op_Addition"/>
    public static CodeComparison Add(CodeComparison left, CodeComparison right) => left + right;
}

/// <summary>Runs a model whose layers, where an input lies at a tie between two codes, take the one that an engine took.</summary>
/// <remarks>
/// Float sums in another order differ in their last bits, and an input at a tie becomes the one code or the other by such a bit; all that follows moves, so that outputs tell
/// little of whether an engine computes what is simulated. With ties decided as in the engine, all else can be held against it closely: any other code, and any scale that is another by
/// more than rounding, is counted as a mismatch, and the simulation keeps its own.
/// </remarks>
/// <param name="linears">The model's linear layers by name.</param>
/// <param name="quantized">The artifact that the model simulates.</param>
public sealed class EngineDecisions(IEnumerable<KeyValuePair<string, QuantizableLinear>> linears, QuantizedModel quantized)
{
    /// <summary>By how much of a step a value may lie beside the middle between two codes to be at a tie.</summary>
    public const double Tolerance = 1e-3;

    /// <summary>By what part scales of a token may differ, which are divisions of float sums' extremes.</summary>
    public const double ScaleTolerance = 1e-5;

    private readonly Dictionary<string, ActivationQuantization> inputs =
        quantized.Layers.Where(layer => layer.Input is not null).ToDictionary(layer => layer.Name, layer => layer.Input!, StringComparer.Ordinal);

    /// <summary>Runs the model, without a gradient.</summary>
    /// <param name="engine">The codes of the inputs of the same run in the engine, by layer. A layer that is missing here mismatches in all codes.</param>
    /// <param name="forward">Runs the model on the same inputs.</param>
    /// <returns>What <paramref name="forward"/> returns, and how the codes compare. What layers share is counted for each.</returns>
    public (Tensor Output, CodeComparison Codes) Run(IReadOnlyDictionary<string, TokenCodes> engine, Func<Tensor> forward)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(forward);
        var own = new List<(QuantizableLinear Layer, ITensorQuantizer? Quantizer)>();
        var deciding = new List<DecidedQuantizer>();
        using var guard = no_grad();
        try
        {
            foreach (var (name, layer) in linears)
            {
                if (inputs.TryGetValue(name, out var input))
                {
                    own.Add((layer, layer.InputQuantizer));
                    deciding.Add(new DecidedQuantizer(input, engine.GetValueOrDefault(name)));
                    layer.InputQuantizer = deciding[^1];
                }
            }

            return (forward(), deciding.Aggregate(default(CodeComparison), (sum, quantizer) => sum + quantizer.Comparison));
        }
        finally
        {
            own.ForEach(item => item.Layer.InputQuantizer = item.Quantizer);
        }
    }

    /// <summary>Quantizes one input, with the engine's codes at ties.</summary>
    private sealed class DecidedQuantizer(ActivationQuantization input, TokenCodes? engine) : ITensorQuantizer
    {
        private readonly CodeRange range = input.Scheme.Codes;

        public CodeComparison Comparison { get; private set; }

        public Tensor Apply(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            var x = tensor.reshape(-1, tensor.shape[^1]);
            var own = Own(x);
            (Tensor Values, CodeComparison Comparison)? result = engine is not null && Fits(engine, x.shape) ? Decided(x, own, engine) : null;
            Comparison += result?.Comparison ?? new CodeComparison(x.numel(), 0, x.numel(), 0);
            return (result?.Values ?? FakeQuantization.Apply(x, own.Scale, own.ZeroPoint, range)).view(tensor.shape).MoveToOuterDisposeScope();
        }

        /// <summary>The parameters, [tokens, 1]; zero points before they are rounded; and the least and greatest scale that are the same but for rounding.</summary>
        private (Tensor Scale, Tensor ZeroPoint, Tensor Lowest, Tensor Highest) Own(Tensor x)
        {
            if (input.Static is { } parameters)
            {
                var fixedScale = full(x.shape[0], 1, parameters.Scale);
                return (fixedScale, full(x.shape[0], 1, (float)parameters.ZeroPoint), fixedScale, fixedScale);
            }

            var (min, max) = (x.amin([1], keepdim: true).to(float64), x.amax([1], keepdim: true).to(float64));
            Tensor Scale(double factor) => FakeQuantization.Parameters(min * factor, max * factor, input.Scheme).Scale;
            var (scale, zeroPoint) = FakeQuantization.Parameters(min, max, input.Scheme);
            return (scale, zeroPoint, Scale(1 - ScaleTolerance), Scale(1 + ScaleTolerance));
        }

        private (Tensor Values, CodeComparison Comparison) Decided(Tensor x, (Tensor Scale, Tensor ZeroPoint, Tensor Lowest, Tensor Highest) own, TokenCodes engine)
        {
            Tensor OfTokens(float[] values) => tensor(values).view(-1, 1).expand(x.shape[0], 1);
            var theirScale = OfTokens(engine.Scales);
            var sameScale = theirScale.ge(own.Lowest).logical_and(theirScale.le(own.Highest));
            var scale = where(sameScale, theirScale, own.Scale);

            // A zero point per token is rounded as a code is, and lies at a tie as one does.
            var exactZero = input is { Static: null, Scheme.Symmetric: false } ? range.Min - (x.amin([1], keepdim: true).clamp_max(0).to(float64) / scale.to(float64)) : own.ZeroPoint;
            var zero = Decide(exactZero, own.ZeroPoint, OfTokens(engine.ZeroPoints));
            var steps = x / scale;
            var code = Decide(steps + zero.Code, (steps.round() + zero.Code).clamp(range.Min, range.Max), tensor(engine.Codes).to(float32).view(x.shape));

            // Codes of other scales or zero points are others, whatever their number.
            var sameRow = sameScale.logical_and(zero.Differs.logical_not());
            var ties = code.Tie.logical_and(sameRow);
            var counted = zero.Tie.sum().item<long>() + ties.sum().item<long>();
            var mismatches = code.Differs.logical_or(sameRow.logical_not()).sum().item<long>();
            var distances = cat([where(ties, code.Distance, 0).view(-1).to(float64), where(zero.Tie, zero.Distance, 0).view(-1).to(float64)]);
            return ((code.Code - zero.Code) * scale, new CodeComparison(x.numel(), counted, mismatches, distances.max().item<double>()));
        }

        /// <summary>Holds codes against the engine's.</summary>
        /// <param name="exact">What is rounded to codes.</param>
        /// <param name="ours">The codes.</param>
        /// <param name="theirs">The engine's codes.</param>
        private static (Tensor Code, Tensor Tie, Tensor Differs, Tensor Distance) Decide(Tensor exact, Tensor ours, Tensor theirs)
        {
            var distance = (exact - ((ours + theirs) / 2)).abs();
            var differs = ours.ne(theirs);
            var tie = differs.logical_and((ours - theirs).abs().eq(1)).logical_and(distance.le(Tolerance));
            return (where(tie, theirs, ours), tie, differs.logical_and(tie.logical_not()), distance);
        }

        private static bool Fits(TokenCodes engine, long[] shape) =>
            engine.Codes.Length == shape[0] * shape[1] && ((float[][])[engine.Scales, engine.ZeroPoints]).All(values => values.Length == 1 || values.Length == shape[0]);
    }
}
