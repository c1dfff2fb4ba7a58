using Nibble.Models;

namespace Nibble.Planning;

/// <summary>The speed of a machine.</summary>
/// <param name="Flops">Floating-point operations per second in matrix products.</param>
/// <param name="Bandwidth">Bytes per second to and from memory.</param>
internal sealed record Hardware(double Flops, double Bandwidth)
{
    /// <summary>The share of the speed of bare matrix products that whole runs reach, measured on a model of 1.1 billion weights
    /// (docs/explanation/advisor.md).</summary>
    public const double TypicalEfficiency = 0.5;

    /// <summary>The share of <see cref="Flops"/> that whole runs reach.</summary>
    public double Efficiency { get; init; } = TypicalEfficiency;
}

/// <summary>The cost of a method, by formula.</summary>
/// <param name="Flops">Floating-point operations.</param>
/// <param name="Traffic">Bytes to and from memory, not counting those of matrix products.</param>
/// <param name="PeakBytes">Peak memory, without that of the program itself.</param>
/// <param name="Tokens">Tokens used.</param>
internal readonly record struct MethodCost(double Flops, double Traffic, double PeakBytes, long Tokens)
{
    private const int FloatBytes = 4;

    /// <summary>Seconds on a machine: arithmetic and traffic one after the other.</summary>
    public double Seconds(Hardware hardware)
    {
        ArgumentNullException.ThrowIfNull(hardware);
        return (Flops / hardware.Flops / hardware.Efficiency) + (Traffic / hardware.Bandwidth);
    }

    /// <summary>One forward pass: two operations per weight and token, and four per channel and attended token (half of them masked).</summary>
    /// <param name="shape">The model.</param>
    /// <param name="tokens">Tokens in all.</param>
    /// <param name="length">Tokens in a sequence.</param>
    public static double Forward(ModelShape shape, long tokens, int length)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return tokens * ((2d * (shape.LinearWeights + shape.HeadWeights)) + (4d * shape.Blocks * shape.Query * length));
    }

    /// <summary>Round to nearest: each weight is read once, rounded and written.</summary>
    /// <param name="shape">The model.</param>
    /// <param name="bits">Bits of a weight.</param>
    public static MethodCost RoundToNearest(ModelShape shape, int bits)
    {
        ArgumentNullException.ThrowIfNull(shape);
        const int Passes = 4;
        return new(0, shape.LinearWeights * ((Passes * FloatBytes) + (bits / 8d)), FloatBytes * shape.BlockWeights, 0);
    }

    /// <summary>GPTQ and related algorithms (Frantar et al. 2023), one block at a time.</summary>
    /// <remarks>
    /// For T tokens: the blocks' passes, before and after their quantization (for GPTAQ also in float); X Xᵀ of each input, T c² twice
    /// over (twice more for GPTAQ's second matrix); its factorization, c³/3; and the columns' updates, r c² for r rows. The head is not run.
    /// </remarks>
    /// <param name="shape">The model.</param>
    /// <param name="bits">Bits of a weight.</param>
    /// <param name="tokens">Tokens of calibration.</param>
    /// <param name="length">Tokens in a window.</param>
    /// <param name="asymmetric">Whether a float stream runs next to the quantized one (GPTAQ).</param>
    public static MethodCost Gptq(ModelShape shape, int bits, long tokens, int length, bool asymmetric)
    {
        ArgumentNullException.ThrowIfNull(shape);
        var streams = asymmetric ? 2 : 1;
        var passes = (1 + streams) * (Forward(shape, tokens, length) - (2d * tokens * shape.HeadWeights));
        var solving = shape.Blocks * shape.Inputs.Sum(input =>
        {
            var square = (double)input.Columns * input.Columns;
            return (2 * streams * tokens * square) + (square * input.Columns / 3) + (streams * input.Rows * square);
        });
        var hessian = (double)FloatBytes * streams * shape.Inputs.Max(input => (double)input.Columns * input.Columns);
        var stream = 2d * streams * FloatBytes * tokens * shape.Hidden;
        var rounding = RoundToNearest(shape, bits);
        return new(passes + solving, rounding.Traffic + (shape.Blocks * stream), (2 * rounding.PeakBytes) + hessian + stream, tokens);
    }

    /// <summary>Training through fake quantizers.</summary>
    /// <remarks>
    /// Each step costs three forward passes (forward, gradients of inputs, gradients of weights). Weights, gradients and AdamW's two moments are
    /// held and accessed in float32: 28 bytes per parameter and step. Fake quantization reads and writes each weight forward and backward, 24 more.
    /// </remarks>
    /// <param name="shape">The model.</param>
    /// <param name="steps">Optimizer steps.</param>
    /// <param name="batch">Sequences in a step.</param>
    /// <param name="length">Tokens in a sequence.</param>
    public static MethodCost Training(ModelShape shape, int steps, int batch, int length)
    {
        ArgumentNullException.ThrowIfNull(shape);
        var perStep = (long)batch * length;

        // Kept for the backward pass: inputs of layers, norms and products, about as many again as the layers' own inputs and outputs, and attention weights.
        var activations = shape.Blocks * (
            (2d * shape.Inputs.Sum(input => (double)input.Columns + input.Rows) * perStep) + (2d * perStep * length * shape.Query / 64))
            + (shape.HasHead ? 3d * perStep * shape.Vocabulary : 0);
        return new(
            3 * Forward(shape, steps * perStep, length),
            steps * ((28d * shape.Parameters) + (24d * shape.LinearWeights)),
            (4d * FloatBytes * shape.Parameters) + (FloatBytes * shape.LinearWeights) + (FloatBytes * activations),
            steps * perStep);
    }
}
