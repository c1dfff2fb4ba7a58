using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>How an engine's codes of layer inputs compare with the simulation's.</summary>
/// <param name="Codes">The number of codes compared.</param>
/// <param name="Ties">
/// The number of codes that differ by one, where the simulation's value is within <see cref="EngineDecisions.Tolerance"/> of the midpoint between the two.
/// </param>
/// <param name="Mismatches">The number of codes that differ otherwise, or whose scale or zero point differs.</param>
/// <param name="Farthest">The largest distance of a tie from the midpoint, in steps.</param>
internal readonly record struct CodeComparison(long Codes, long Ties, long Mismatches, double Farthest)
{
    /// <summary>The sum of both comparisons.</summary>
    public static CodeComparison operator +(CodeComparison left, CodeComparison right) =>
        new(left.Codes + right.Codes, left.Ties + right.Ties, left.Mismatches + right.Mismatches, Math.Max(left.Farthest, right.Farthest));

    /// <inheritdoc cref="op_Addition"/>
    public static CodeComparison Add(CodeComparison left, CodeComparison right) => left + right;
}

/// <summary>Runs a model whose layers use the engine's code wherever an input is at a tie between two codes.</summary>
/// <remarks>
/// Float sums in a different order differ in their last bits. Such a bit can decide which of two codes an input at a tie gets, and everything after it
/// changes. Outputs then show little about whether an engine computes what is simulated. With ties decided as in the engine, everything else can be compared
/// closely. Any other difference between codes, and any scale that differs by more than rounding, counts as a mismatch. The simulation keeps its own value
/// in these cases. It also keeps its own values for padding (<see cref="TokenMask"/>), which is not counted because no output depends on it.
/// </remarks>
/// <param name="linears">The model's linear layers by name.</param>
/// <param name="quantized">The artifact that the model simulates.</param>
internal sealed class EngineDecisions(IEnumerable<KeyValuePair<string, QuantizableLinear>> linears, QuantizedModel quantized)
{
    /// <summary>The maximum distance, in steps, of a value at a tie from the midpoint between two codes.</summary>
    /// <remarks>
    /// Inputs of stories260K differ from the engine's by up to 1.2e-5 of the largest value of their token, after the softmax. This is 1.5e-3 of a step at 8
    /// bits, the distance of the farthest tie. Larger models accumulate more error, so the tolerance is about seven times that value. If all inputs of an
    /// engine were off by two hundredths of a step, one code in a hundred would differ without being at a tie.
    /// </remarks>
    public const double Tolerance = 0.01;

    /// <summary>The maximum relative difference of a token's scale: <see cref="Tolerance"/> divided by the largest code of 8 bits.</summary>
    public const double ScaleTolerance = Tolerance / 127.5;

    private readonly Dictionary<string, ActivationQuantization> inputs =
        quantized.Layers.Where(layer => layer.Input is not null).ToDictionary(layer => layer.Name, layer => layer.Input!, StringComparer.Ordinal);

    /// <summary>Runs the model without gradients.</summary>
    /// <param name="engine">The engine's codes of the inputs of the same run, by layer. All codes of a layer that is missing here count as mismatches.</param>
    /// <param name="forward">Runs the model on the same inputs.</param>
    /// <returns>
    /// The result of <paramref name="forward"/>, and the comparison of each layer's codes in the model's order. An input that several layers share is counted
    /// for each of them.
    /// </returns>
    public (Tensor Output, IReadOnlyList<KeyValuePair<string, CodeComparison>> Layers) Run(IReadOnlyDictionary<string, TokenCodes> engine, Func<Tensor> forward)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(forward);
        var own = new List<(QuantizableLinear Layer, ITensorQuantizer? Quantizer)>();
        var deciding = new List<(string Layer, DecidedQuantizer Quantizer)>();
        using var guard = no_grad();
        try
        {
            foreach (var (name, layer) in linears)
            {
                if (inputs.TryGetValue(name, out var input))
                {
                    own.Add((layer, layer.InputQuantizer));
                    deciding.Add((name, new DecidedQuantizer(input, engine.GetValueOrDefault(name))));
                    layer.InputQuantizer = deciding[^1].Quantizer;
                }
            }

            return (forward(), [.. deciding.Select(item => KeyValuePair.Create(item.Layer, item.Quantizer.Comparison))]);
        }
        finally
        {
            own.ForEach(item => item.Layer.InputQuantizer = item.Quantizer);
        }
    }

    /// <summary>Quantizes one input with the engine's codes at ties.</summary>
    private sealed class DecidedQuantizer(ActivationQuantization input, TokenCodes? engine) : ITensorQuantizer
    {
        private readonly CodeRange range = input.Scheme.Codes;

        public CodeComparison Comparison { get; private set; }

        public Tensor Apply(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            var x = tensor.reshape(-1, tensor.shape[^1]);
            var own = Own(x);
            var real = TokenMask.Of(tensor)?.reshape(-1, 1) ?? ones(x.shape[0], 1, dtype: ScalarType.Bool);
            var count = TokenMask.Count(tensor);
            (Tensor Values, CodeComparison Comparison)? result = engine is not null && Fits(engine, x.shape) ? Decided(x, own, engine, real, count) : null;
            Comparison += result?.Comparison ?? new CodeComparison(count, 0, count, 0);
            return (result?.Values ?? FakeQuantization.Apply(x, own.Scale, own.ZeroPoint, range)).view(tensor.shape).MoveToOuterDisposeScope();
        }

        /// <summary>The quantization parameters, [tokens, 1], and the lowest and highest scale that are equal except for rounding.</summary>
        private (Tensor Scale, Tensor ZeroPoint, Tensor Lowest, Tensor Highest) Own(Tensor x)
        {
            if (input.Static is { } parameters)
            {
                var fixedScale = TensorArithmetic.Filled(x.shape[0], 1, parameters.Scale);
                return (fixedScale, TensorArithmetic.Filled(x.shape[0], 1, parameters.ZeroPoint), fixedScale, fixedScale);
            }

            var (min, max) = (x.amin([1], keepdim: true).to(float64), x.amax([1], keepdim: true).to(float64));
            Tensor Scale(double factor) => FakeQuantization.Parameters(min.Times(factor), max.Times(factor), input.Scheme).Scale;
            var (scale, zeroPoint) = FakeQuantization.Parameters(min, max, input.Scheme);
            return (scale, zeroPoint, Scale(1 - ScaleTolerance), Scale(1 + ScaleTolerance));
        }

        private (Tensor Values, CodeComparison Comparison) Decided(
            Tensor x, (Tensor Scale, Tensor ZeroPoint, Tensor Lowest, Tensor Highest) own, TokenCodes engine, Tensor real, long count)
        {
            Tensor OfTokens(float[] values) => tensor(values).view(-1, 1).expand(x.shape[0], 1);
            var theirScale = OfTokens(engine.Scales);
            var sameScale = theirScale.ge(own.Lowest).logical_and(theirScale.le(own.Highest));
            var scale = where(sameScale, theirScale, own.Scale);

            // A zero point per token is rounded like a code and can be at a tie too. It depends on the scale, which may be the neighbouring float16 value.
            var (theirZero, theirCodes) = (OfTokens(engine.ZeroPoints), tensor(engine.Codes).to(float32).view(x.shape));
            var exactZero = input is { Static: null, Scheme.Symmetric: false }
                ? (x.amin([1], keepdim: true).ClampMax(0).to(float64) / scale.to(float64)).SubtractedFrom(range.Min) : own.ZeroPoint;
            var ownZero = exactZero.round().Clamp(range.Min, range.Max).to(float32);
            var zeroTies = Ties(exactZero, ownZero, theirZero).logical_and(real);
            var zero = where(zeroTies, theirZero, ownZero);
            var steps = x / scale;
            var codes = steps.round().Plus(zero).Clamp(range.Min, range.Max);

            // With another scale or zero point, equal codes have different meanings.
            var sameRow = sameScale.logical_and(zero.eq(theirZero));
            var ties = Ties(steps.Plus(zero), codes, theirCodes).logical_and(sameRow).logical_and(real);
            var farthest = cat([Distance(steps.Plus(zero), codes, theirCodes)[ties].to(float64), Distance(exactZero, ownZero, theirZero)[zeroTies].to(float64),
                zeros(1, float64)]).max();
            codes = where(ties, theirCodes, codes);
            var mismatches = codes.ne(theirCodes).logical_or(sameRow.logical_not()).logical_and(real).sum().item<long>();
            return ((codes - zero) * scale,
                new CodeComparison(count, ties.sum().item<long>() + zeroTies.sum().item<long>(), mismatches, farthest.item<double>()));
        }

        /// <summary>True where two codes are neighbours and the value is close enough to the midpoint for either.</summary>
        private static Tensor Ties(Tensor exact, Tensor ours, Tensor theirs) =>
            (ours - theirs).abs().EqualTo(1).logical_and(Distance(exact, ours, theirs).AtMost(Tolerance));

        private static Tensor Distance(Tensor exact, Tensor ours, Tensor theirs) => (exact - ours.Plus(theirs).DividedBy(2)).abs();

        private static bool Fits(TokenCodes engine, long[] shape) =>
            engine.Codes.Length == shape[0] * shape[1]
                && ((float[][])[engine.Scales, engine.ZeroPoints]).All(values => values.Length == 1 || values.Length == shape[0]);
    }
}
