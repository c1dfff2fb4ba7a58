using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>The base class of the observers that choose a range from a histogram.</summary>
/// <remarks>
/// The histogram has 4,096 bins and takes 32 KiB, for any number of values. Its state, and so the range, depends only on the
/// values seen, not on their order or on how they were split among merged observers.
/// </remarks>
internal abstract class HistogramObserver : IObserver
{
    private readonly StreamingHistogram histogram = new();

    private protected HistogramObserver()
    {
    }

    /// <inheritdoc/>
    public long Count => histogram.Count;

    /// <inheritdoc/>
    public long NonFiniteCount => histogram.NonFiniteCount;

    /// <inheritdoc/>
    public void Observe(ReadOnlySpan<float> values) => histogram.Observe(values);

    /// <inheritdoc/>
    public void Merge(IObserver other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other is not HistogramObserver observer || !IsSetUpLike(observer))
        {
            throw Observer.CannotMerge(this, other);
        }

        histogram.Merge(observer.histogram);
    }

    /// <inheritdoc/>
    public ValueRange Range(QuantizationScheme scheme)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        return Count > 0 ? Range(histogram, scheme) : throw Observer.NothingSeen(NonFiniteCount);
    }

    private protected virtual bool IsSetUpLike(HistogramObserver other) => other.GetType() == GetType();

    private protected abstract ValueRange Range(StreamingHistogram seen, QuantizationScheme scheme);
}
