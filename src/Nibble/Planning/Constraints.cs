using System.Globalization;

namespace Nibble.Planning;

/// <summary>A constraint that an option violates.</summary>
/// <param name="Reason">The reason, as text.</param>
/// <param name="Excess">How many times the limit is exceeded; infinite if no change of an amount would help.</param>
internal readonly record struct Violation(string Reason, double Excess);

/// <summary>The limits and requirements for an option.</summary>
internal sealed record Constraints
{
    /// <summary>The most seconds to make the model; null for no limit.</summary>
    public double? Seconds { get; init; }

    /// <summary>The most bytes of memory; null for no limit.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>The highest loss over float, in <see cref="Unit"/>; null for no limit.</summary>
    public double? Loss { get; init; }

    /// <summary>The unit of losses.</summary>
    public LossUnit Unit { get; init; } = LossUnit.Of(null);

    /// <summary>The most tokens of text to calibrate on; null for no limit. Zero allows only options that need no text.</summary>
    public long? CalibrationTokens { get; init; }

    /// <summary>Whether there is text to train on.</summary>
    public bool MayTrain { get; init; } = true;

    /// <summary>The engine that runs the result.</summary>
    public Engine Engine { get; init; }

    /// <summary>The constraints that an option violates; none if it is allowed.</summary>
    public IReadOnlyList<Violation> Broken(PlannedOption option)
    {
        ArgumentNullException.ThrowIfNull(option);
        var broken = new List<Violation>();
        if (option.Trains && !MayTrain)
        {
            broken.Add(new("there is no text to train on", double.PositiveInfinity));
        }

        if (option is { Trains: false, NeedsData: true } && CalibrationTokens == 0)
        {
            broken.Add(new("there is no text to calibrate on", double.PositiveInfinity));
        }

        if (option.EngineRefusal is { } refusal)
        {
            broken.Add(new($"{TargetEngines.ByName.First(item => item.Value == Engine).Key} cannot run it: {refusal}", double.PositiveInfinity));
        }

        Limit(option.Seconds, Seconds,
            (value, limit) => string.Create(CultureInfo.InvariantCulture, $"takes {value / 60:0.##} minutes, the limit is {limit / 60:0.##}"));
        Limit(option.PeakBytes, MemoryBytes,
            (value, limit) => string.Create(CultureInfo.InvariantCulture, $"takes {value / 1e6:0} MB of memory, the limit is {limit / 1e6:0}"));
        Limit(
            option.Loss.Value, Loss,
            (value, limit) => string.Create(CultureInfo.InvariantCulture, $"loses {value:0.####} {Unit.Amount}, the limit is {limit:0.####}"));
        return broken;

        void Limit(double value, double? limit, Func<double, double, string> say)
        {
            if (limit is { } most && !(value <= most))
            {
                broken.Add(new(say(value, most), double.IsNaN(value) ? double.PositiveInfinity : most > 0 ? value / most : 1 + value - most));
            }
        }
    }
}
