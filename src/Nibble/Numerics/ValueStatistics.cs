namespace Nibble.Numerics;

/// <summary>What a quantizer needs to know about values before it chooses a range.</summary>
/// <param name="Range">The lowest and the highest finite value, never negative zero; (+infinity, -infinity) where no value is finite.</param>
/// <param name="NonFiniteCount">How many values are NaN or infinite.</param>
public readonly record struct ValueStatistics(ValueRange Range, int NonFiniteCount)
{
    // Adding zero takes the sign from a negative zero, on which instruction sets disagree.
    internal static ValueStatistics Create(float min, float max, int nonFiniteCount) => new(new ValueRange(min + 0f, max + 0f), nonFiniteCount);
}
