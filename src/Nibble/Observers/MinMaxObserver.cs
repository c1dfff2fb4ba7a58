using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>The range from the lowest to the highest value seen. Merging is exact.</summary>
internal sealed class MinMaxObserver : IObserver
{
    private float min = float.PositiveInfinity;
    private float max = float.NegativeInfinity;

    /// <inheritdoc/>
    public long Count { get; private set; }

    /// <inheritdoc/>
    public long NonFiniteCount { get; private set; }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<float> values)
    {
        var seen = Quantizer.Measure(values);
        Count += values.Length - seen.NonFiniteCount;
        NonFiniteCount += seen.NonFiniteCount;
        min = Math.Min(min, seen.Range.Min);
        max = Math.Max(max, seen.Range.Max);
    }

    /// <inheritdoc/>
    public void Merge(IObserver other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other is not MinMaxObserver observer)
        {
            throw Observer.CannotMerge(this, other);
        }

        Count += observer.Count;
        NonFiniteCount += observer.NonFiniteCount;
        min = Math.Min(min, observer.min);
        max = Math.Max(max, observer.max);
    }

    /// <inheritdoc/>
    public ValueRange Range(QuantizationScheme scheme) => Count > 0 ? new ValueRange(min, max) : throw Observer.NothingSeen(NonFiniteCount);

    /// <inheritdoc/>
    public override string ToString() => "a min-max observer";
}
