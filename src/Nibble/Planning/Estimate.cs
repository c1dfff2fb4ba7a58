namespace Nibble.Planning;

/// <summary>A number that is not known exactly.</summary>
/// <param name="Value">The likeliest value.</param>
/// <param name="Low">The low end of the interval that should hold the true value nine times in ten.</param>
/// <param name="High">Its high end.</param>
internal readonly record struct Estimate(double Value, double Low, double High)
{
    /// <summary>Standard errors to both sides that hold nine values in ten.</summary>
    public const double Errors = 1.645;

    /// <summary>Half the interval's width.</summary>
    public double Half => (High - Low) / 2;

    /// <summary>The standard error that the interval stands for.</summary>
    public double StandardError => Half / Errors;

    /// <summary>Whether a value lies in the interval.</summary>
    public bool Holds(double value) => value >= Low && value <= High;

    /// <summary>A value with the same distance to both sides.</summary>
    public static Estimate Around(double value, double half) => new(value, value - half, value + half);

    /// <summary>The mean of paired differences, with the interval that their spread gives.</summary>
    /// <param name="differences">One or more differences, such as of two models' losses on the same windows; one alone tells nothing of its error.</param>
    public static Estimate OfMean(IReadOnlyList<double> differences)
    {
        ArgumentNullException.ThrowIfNull(differences);
        ArgumentOutOfRangeException.ThrowIfZero(differences.Count);
        var mean = differences.Average();
        var square = differences.Sum(difference => (difference - mean) * (difference - mean));
        return differences.Count == 1 ? new(mean, double.NegativeInfinity, double.PositiveInfinity)
            : Around(mean, Errors * Math.Sqrt(square / (differences.Count - 1) / differences.Count));
    }

    /// <summary>The estimate moved by a sum, its interval widened by another's: errors that do not depend on each other add as squares.</summary>
    public static Estimate operator +(Estimate left, Estimate right) =>
        Around(left.Value + right.Value, Math.Sqrt((left.Half * left.Half) + (right.Half * right.Half)));

    /// <summary>The sum of two estimates; see the operator.</summary>
    public static Estimate Add(Estimate left, Estimate right) => left + right;
}
