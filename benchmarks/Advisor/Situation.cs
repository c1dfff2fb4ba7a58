using Nibble.Planning;

namespace Nibble.Benchmarks.Advisor;

/// <summary>Something that a user might ask: a model, widths, and what there is to use.</summary>
/// <param name="Name">What the situation is called.</param>
/// <param name="Model">The model's name.</param>
/// <param name="Bits">Widths to weigh.</param>
/// <param name="Constraints">What there is.</param>
internal sealed record Situation(string Name, string Model, int[] Bits, Constraints Constraints)
{
    /// <summary>Seconds that leave a third, or a tenth, of training's 200 steps.</summary>
    private static Constraints Hurried(double seconds) => new() { Seconds = seconds };

    private static Constraints NoTraining { get; } = new() { MayTrain = false };

    private static Constraints NoText { get; } = new() { MayTrain = false, CalibrationTokens = 0 };

    /// <summary>The situations, those of models at hand first: widths, data, time and model vary.</summary>
    public static IReadOnlyList<Situation> All { get; } =
    [
        .. Widths("stories"),
        new("stories, 4 or 3 bits", "stories", [4, 3], new()),
        new("stories on Wikipedia, 2 bits", "stories-wiki", [2], new()),
        new("stories on Wikipedia, 3 bits", "stories-wiki", [3], new()),
        new("stories, 3 bits, 8 s", "stories", [3], Hurried(8)),
        new("stories, 2 bits, 3 s", "stories", [2], Hurried(3)),
        new("stories, 3 bits, nothing to train on", "stories", [3], NoTraining),
        .. Widths("small"),
        new("small, 2 bits, 8 s", "small", [2], Hurried(8)),
        new("small, 2 bits, nothing to train on", "small", [2], NoTraining),
        .. Widths("wiki-tuned"),
        new("wiki-tuned, 4 bits, no text", "wiki-tuned", [4], NoText),
        .. Widths("builtin"),
        new("builtin, 3 bits, no text", "builtin", [3], NoText),
    ];

    private static IEnumerable<Situation> Widths(string model) =>
        TruthCommand.Widths.Select(bits => new Situation($"{model}, {bits} bits", model, [bits], new()));
}
