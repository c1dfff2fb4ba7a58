
namespace Nibble.Numerics.Kernels;

/// <summary>The grid that training rounds to: <c>Scale * (step + Shift)</c> for the whole steps from <paramref name="Lowest"/> to
/// <paramref name="Highest"/>.</summary>
/// <param name="Scale">The distance between two neighbouring values. NaN, as after a diverging step, makes every value NaN.</param>
/// <param name="Lowest">The lowest code minus the zero point.</param>
/// <param name="Highest">The highest code minus the zero point.</param>
/// <param name="Shift">0, or 1/2 for a stretched grid, which lies evenly around zero (ParetoQ, Liu et al. 2025).</param>
internal readonly record struct TrainingGrid(float Scale, float Lowest, float Highest, float Shift)
{
    /// <summary>The value on the grid. NaN stays NaN.</summary>
    public float FakeQuantize(float value) => Scale * (Clamp(Round(value / Scale)) + Shift);

    /// <summary>The gradients of one value, given the gradient of its output: the value's own gradient, its part of the scale's gradient, and its part of the
    /// zero point's.</summary>
    /// <remarks>A value is inside if its rounded step is on the grid, as in PyTorch's learnable fake quantizer. LSQ's equation 3 ends half a step
    /// earlier.</remarks>
    public (float Value, double Scale, double Outside) Backward(float value, float gradient)
    {
        var steps = value / Scale;
        var step = Round(steps);
        var inside = step >= Lowest && step <= Highest;
        var residual = Clamp(step) + Shift - (inside ? steps : 0);
        return (inside ? gradient : 0, (double)gradient * residual, inside ? 0 : gradient);
    }

    private float Round(float steps) => Shift == 0 ? MathF.Round(steps, MidpointRounding.ToEven) : MathF.Floor(steps);

    // NaN stays. Adding the shift afterwards, even 0, removes the sign of a negative zero.
    private float Clamp(float step) => step < Lowest ? Lowest : step > Highest ? Highest : step;
}

/// <summary>The gradients from a run of values for the scale and zero point that they share.</summary>
/// <param name="Scale">The sum of gradient * (step + shift - value / scale) inside the grid and of gradient * (end + shift) outside.</param>
/// <param name="Outside">The sum of the gradients outside the grid. The zero point's gradient is this times -scale.</param>
internal readonly record struct GridGradient(double Scale, double Outside);

/// <summary>Both sums of a run. <see cref="LaneSums"/> fixes the order of summation.</summary>
/// <remarks>A gradient and a residual are binary32, so their product is exact in binary64, and fused and separate multiply-adds agree.</remarks>
internal struct GridGradientSums
{
    public LaneSums Scale;
    public LaneSums Outside;

    /// <summary>Adds the remaining values after <paramref name="done"/> values, a multiple of 8, are summed.</summary>
    public void AddRest(ReadOnlySpan<float> values, ReadOnlySpan<float> gradients, int done, TrainingGrid grid, Span<float> destination)
    {
        for (var i = done; i < values.Length; i++)
        {
            var (value, scale, outside) = grid.Backward(values[i], gradients[i]);
            Scale[i % LaneSums.Count] += scale;
            Outside[i % LaneSums.Count] += outside;
            if (!destination.IsEmpty)
            {
                destination[i] = value;
            }
        }
    }

    /// <summary>The totals of the sums.</summary>
    public readonly GridGradient Total() => new(Scale.Total(), Outside.Total());
}
