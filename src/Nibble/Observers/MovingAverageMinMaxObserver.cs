using System.Globalization;
using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>Exponential moving averages of each batch's lowest and highest value.</summary>
/// <remarks>
/// One call of <see cref="Observe"/> is one batch. The first batch sets the averages. Each later batch moves them by the averaging
/// constant times the distance: <c>min += c * (batchMin - min)</c>, as in PyTorch's <c>MovingAverageMinMaxObserver</c>. A batch without a
/// finite value moves nothing. Merging weights the two averages by the number of finite values that each has seen. The order of two observers does not
/// change the range, and the order of more changes it only by rounding. The result differs from that of one observer over all batches in sequence.
/// </remarks>
internal sealed class MovingAverageMinMaxObserver : IObserver
{
    private double min;
    private double max;

    /// <summary>Creates an observer.</summary>
    /// <param name="averagingConstant">The weight of a new batch, above 0 and at most 1.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="averagingConstant"/> is out of range.</exception>
    public MovingAverageMinMaxObserver(double averagingConstant = 0.01)
    {
        if (averagingConstant is not (> 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(averagingConstant), averagingConstant, "An averaging constant must be above 0 and at most 1.");
        }

        AveragingConstant = averagingConstant;
    }

    /// <summary>The weight of a new batch.</summary>
    public double AveragingConstant { get; }

    /// <inheritdoc/>
    public long Count { get; private set; }

    /// <inheritdoc/>
    public long NonFiniteCount { get; private set; }

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<float> values)
    {
        var seen = Quantizer.Measure(values);
        NonFiniteCount += seen.NonFiniteCount;
        var finite = values.Length - seen.NonFiniteCount;
        if (finite == 0)
        {
            return;
        }

        var weight = Count == 0 ? 1 : AveragingConstant;
        min += weight * (seen.Range.Min - min);
        max += weight * (seen.Range.Max - max);
        Count += finite;
    }

    /// <inheritdoc/>
    public void Merge(IObserver other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other is not MovingAverageMinMaxObserver observer || observer.AveragingConstant != AveragingConstant)
        {
            throw Observer.CannotMerge(this, other);
        }

        NonFiniteCount += observer.NonFiniteCount;
        var total = Count + observer.Count;
        if (total == 0)
        {
            return;
        }

        min = ((min * Count) + (observer.min * observer.Count)) / total;
        max = ((max * Count) + (observer.max * observer.Count)) / total;
        Count = total;
    }

    /// <inheritdoc/>
    public ValueRange Range(QuantizationScheme scheme) => Count > 0 ? new ValueRange((float)min, (float)max) : throw Observer.NothingSeen(NonFiniteCount);

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"a moving-average observer (constant {AveragingConstant})");
}
