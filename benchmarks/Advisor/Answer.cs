using System.Globalization;
using Nibble.Planning;
using Nibble.Torch.Planning;

namespace Nibble.Benchmarks.Advisor;

/// <summary>What was foretold of an option, and what is true.</summary>
internal sealed record Predicted(string Model, PlannedOption Option, double Loss, double Seconds);

/// <summary>The advisor's answer in a situation, beside the truth.</summary>
internal sealed class Answer
{
    public Answer(Situation situation, BenchModel model, AdvisorResult result, Truth truth)
    {
        Situation = situation;
        Result = result;
        var reference = truth.Of(model, null, Truth.Float, 0).Loss;
        Options = [.. result.Options.Select(option =>
        {
            var row = truth.Of(model, option.Recipe, option.Method.ToString().ToLowerInvariant(), option.Steps);
            return new Predicted(situation.Model, option, row.Loss - reference, row.Seconds);
        })];
        var allowed = Options.Where(option => result.Decision.Ranked.Contains(option.Option)).ToList();
        Chosen = allowed.Find(option => option.Option == result.Decision.Recommended);
        Best = allowed.MinBy(option => option.Loss);
        ChosenLoss = reference + (Chosen?.Loss ?? double.NaN);
        BestLoss = reference + (Best?.Loss ?? double.NaN);

        // Judged as the advisor judges: what training alone gains is no merit of quantization.
        double Judged(Predicted option) =>
            option.Loss - (option.Option.Trains ? Math.Min(0, truth.Of(model, null, Truth.Float, option.Option.Steps).Loss - reference) : 0);
        JudgedExcess = Chosen is null ? double.NaN : Judged(Chosen) - allowed.Min(Judged);
        FloatLoss = reference;
    }

    public Situation Situation { get; }

    public AdvisorResult Result { get; }

    public IReadOnlyList<Predicted> Options { get; }

    public Predicted? Chosen { get; }

    public Predicted? Best { get; }

    public double FloatLoss { get; }

    /// <summary>The chosen option's true loss, nats per token.</summary>
    public double ChosenLoss { get; }

    public double BestLoss { get; }

    /// <summary>What the choice loses over the best by quantization alone, nats per token.</summary>
    public double JudgedExcess { get; }

    /// <summary>How much more than the best the choice loses.</summary>
    public double Excess => (ChosenLoss / BestLoss) - 1;

    public string Line => string.Create(
        CultureInfo.InvariantCulture,
        $"{Situation.Name}: chose {Chosen?.Option.Name} ({ChosenLoss:F4}), best {Best?.Option.Name} ({BestLoss:F4}), {Excess:P2} more; judged "
        + $"{JudgedExcess:F4} nats more");
}
