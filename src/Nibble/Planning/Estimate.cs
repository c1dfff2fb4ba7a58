namespace Nibble.Planning;

/// <summary>A value that is not known exactly.</summary>
/// <param name="Value">The most likely value.</param>
/// <param name="Low">The low end of the 90 % interval.</param>
/// <param name="High">The high end of the 90 % interval.</param>
internal readonly record struct Estimate(double Value, double Low, double High)
{
    /// <summary>The number of standard errors to each side that covers 90 %.</summary>
    public const double Errors = 1.645;

    /// <summary>Half the interval's width.</summary>
    public double Half => (High - Low) / 2;

    /// <summary>The standard error that corresponds to the interval.</summary>
    public double StandardError => Half / Errors;

    /// <summary>Whether a value is in the interval.</summary>
    public bool Holds(double value) => value >= Low && value <= High;

    /// <summary>A value with the same distance to both ends.</summary>
    public static Estimate Around(double value, double half) => new(value, value - half, value + half);

    /// <summary>The mean of paired differences, with the interval from their spread.</summary>
    /// <param name="differences">One or more differences, such as of two models' losses on the same windows. One difference gives no interval.</param>
    public static Estimate OfMean(IReadOnlyList<double> differences)
    {
        ArgumentNullException.ThrowIfNull(differences);
        ArgumentOutOfRangeException.ThrowIfZero(differences.Count);
        var mean = differences.Average();
        var square = differences.Sum(difference => (difference - mean) * (difference - mean));
        return differences.Count == 1 ? new(mean, double.NegativeInfinity, double.PositiveInfinity)
            : Around(mean, Errors * Math.Sqrt(square / (differences.Count - 1) / differences.Count));
    }

    /// <summary>Adds estimates. Independent errors add as squares.</summary>
    public static Estimate operator +(Estimate left, Estimate right) =>
        Around(left.Value + right.Value, Math.Sqrt((left.Half * left.Half) + (right.Half * right.Half)));

    /// <summary>Adds estimates, as the operator does.</summary>
    public static Estimate Add(Estimate left, Estimate right) => left + right;
}
