namespace Nibble.Numerics;

/// <summary>The statistics of values that a quantizer needs to choose a range.</summary>
/// <param name="Range">The lowest and the highest finite value, never negative zero; (+infinity, -infinity) if no value is finite.</param>
/// <param name="NonFiniteCount">The number of values that are NaN or infinite.</param>
public readonly record struct ValueStatistics(ValueRange Range, int NonFiniteCount)
{
    // Adding zero removes the sign of a negative zero, which instruction sets treat differently.
    internal static ValueStatistics Create(float min, float max, int nonFiniteCount) => new(new ValueRange(min + 0f, max + 0f), nonFiniteCount);
}
