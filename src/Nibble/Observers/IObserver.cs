using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>Watches values and yields the range that a quantizer should cover.</summary>
/// <remarks>
/// Statistics take bounded memory for any number of values. Two observers of one kind can be merged, so that
/// calibration can be split. Values that are not finite are counted and otherwise ignored.
/// </remarks>
internal interface IObserver
{
    /// <summary>Finite values seen.</summary>
    long Count { get; }

    /// <summary>NaN and infinite values seen.</summary>
    long NonFiniteCount { get; }

    /// <summary>Adds values to the statistics.</summary>
    void Observe(ReadOnlySpan<float> values);

    /// <summary>Adds the statistics of another observer of the same kind.</summary>
    /// <exception cref="ArgumentException">The other observer is of another kind or has other settings.</exception>
    void Merge(IObserver other);

    /// <summary>The range to cover with a scheme's codes.</summary>
    /// <exception cref="InvalidOperationException">No finite value was seen.</exception>
    ValueRange Range(QuantizationScheme scheme);
}
