using System.Globalization;

namespace Nibble.Planning;

/// <summary>A constraint that an option breaks.</summary>
/// <param name="Reason">What is wrong, in words.</param>
/// <param name="Excess">How many times the limit is exceeded; infinite where no change of an amount would help.</param>
internal readonly record struct Violation(string Reason, double Excess);

/// <summary>What an option may take, and what it must give.</summary>
internal sealed record Constraints
{
    /// <summary>Seconds to make the model at most; null for any.</summary>
    public double? Seconds { get; init; }

    /// <summary>Bytes of memory at most; null for any.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>The loss over float at most, in <see cref="Unit"/>; null for any.</summary>
    public double? Loss { get; init; }

    /// <summary>What losses are measured in.</summary>
    public LossUnit Unit { get; init; } = LossUnit.Of(null);

    /// <summary>Tokens of text to calibrate on at most; null for any. Zero leaves what needs no text.</summary>
    public long? CalibrationTokens { get; init; }

    /// <summary>Whether there is text that may be trained on.</summary>
    public bool MayTrain { get; init; } = true;

    /// <summary>What runs the result.</summary>
    public Engine Engine { get; init; }

    /// <summary>The constraints that an option breaks; none where it is allowed.</summary>
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
            (value, limit) => string.Create(CultureInfo.InvariantCulture, $"takes {value / 60:0.##} minutes, allowed are {limit / 60:0.##}"));
        Limit(option.PeakBytes, MemoryBytes,
            (value, limit) => string.Create(CultureInfo.InvariantCulture, $"takes {value / 1e6:0} MB of memory, allowed are {limit / 1e6:0}"));
        Limit(
            option.Loss.Value, Loss,
            (value, limit) => string.Create(CultureInfo.InvariantCulture, $"loses {value:0.####} {Unit.Amount}, allowed are {limit:0.####}"));
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
