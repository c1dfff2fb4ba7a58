using System.Globalization;
using Nibble.Files;
using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>A layer that a recipe's rules can match.</summary>
/// <param name="Name">The module's name in the checkpoint.</param>
/// <param name="Rows">Rows of its weight.</param>
/// <param name="Columns">Columns of its weight. Groups divide the values of a row.</param>
public sealed record ModelLayer(string Name, int Rows, int Columns)
{
    /// <summary>Whether it has an input that could be quantized. An embedding, which is a lookup, has none.</summary>
    public bool HasInput { get; init; } = true;
}

/// <summary>A layer that a run quantizes.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Weights">The scheme of its weights, as text.</param>
/// <param name="Activations">The scheme of its inputs, as text; null if they stay in float.</param>
/// <param name="Algorithms">How its codes are chosen: names of post-training algorithms, or <c>qat</c>; null if codes are only read and written.</param>
public sealed record SummarizedLayer(string Name, string Weights, string? Activations, string? Algorithms);

/// <summary>A layer that a run keeps in float.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Reason">The reason, as the end of a sentence, such as <c>no rule matches it</c>.</param>
public sealed record KeptLayer(string Name, string Reason);

/// <summary>The facts of a run that <see cref="RunSummary"/> uses.</summary>
/// <param name="Method">The method for rules that name none.</param>
/// <param name="Layers">The layers that a rule could quantize, in the model's order.</param>
internal sealed record RunFacts(Method Method, IReadOnlyList<ModelLayer> Layers)
{
    /// <summary>Layers of the model that no rule can match, and the reasons.</summary>
    public IReadOnlyList<KeptLayer> OutOfReach { get; init; } = [];

    /// <summary>The format that the recipe targets; null for none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Pieces of calibration data that are used, windows or texts; null if none are used.</summary>
    public int? CalibrationPieces { get; init; }

    /// <summary>Whether calibration data was given but is not used.</summary>
    public bool HasIdleData { get; init; }

    /// <summary>Tokens in all pieces.</summary>
    public long CalibrationTokens { get; init; }

    /// <summary>Tokens in a window; null if the pieces are texts, whose lengths differ.</summary>
    public int? WindowTokens { get; init; }

    /// <summary>How often training passes over its data; null if nothing is trained.</summary>
    public double? Epochs { get; init; }
}

/// <summary>What a run does with each layer of a model, and warnings about settings that have no effect or make the result worse than
/// expected.</summary>
/// <remarks>It depends only on the recipe and the model, so it is known before the work begins. <see cref="With"/> adds warnings from the run.</remarks>
/// <param name="Quantized">The layers that are quantized, in the model's order.</param>
/// <param name="Kept">The layers that stay float, in the model's order.</param>
/// <param name="Warnings">The warnings, one sentence each.</param>
public sealed record RunSummary(IReadOnlyList<SummarizedLayer> Quantized, IReadOnlyList<KeptLayer> Kept, IReadOnlyList<string> Warnings)
{
    /// <summary>The most layers of a kind that are named. Beyond that they are counted.</summary>
    private const int Named = 3;

    private const string WeightSuffix = ".weight";

    /// <summary>An empty summary.</summary>
    public static RunSummary Empty { get; } = new([], [], []);

    /// <summary>The summary of a run that has not started.</summary>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="facts">The facts of the run.</param>
    internal static RunSummary Of(Recipe recipe, RunFacts facts)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(facts);
        var (quantized, kept) = (new List<SummarizedLayer>(), new List<KeptLayer>());
        foreach (var layer in facts.Layers)
        {
            if (recipe.RuleFor(layer.Name) is { } rule)
            {
                var trained = (rule.WeightMethod ?? facts.Method) == Method.Qat;
                var inputs = layer.HasInput ? rule.Activations?.Scheme.ToString() : null;
                quantized.Add(new SummarizedLayer(layer.Name, rule.Weights!.ToString(), inputs, trained ? "qat" : string.Join(", ", rule.Algorithms.Names)));
            }
            else
            {
                kept.Add(new KeptLayer(layer.Name, Reason(recipe, facts, layer)));
            }
        }

        return new RunSummary(quantized, [.. kept, .. facts.OutOfReach], [.. RecipeCheck.Warnings(recipe, facts)]);
    }

    /// <summary>The summary of a model that is already quantized, such as an import.</summary>
    /// <param name="layers">Its layers that have codes.</param>
    /// <param name="floats">The names of its other tensors and the number of axes of each. Vectors are not layers.</param>
    internal static RunSummary OfCodes(
        IEnumerable<(string Name, QuantizationScheme Weights, QuantizationScheme? Activations)> layers, IEnumerable<(string Name, int Axes)> floats) => new(
        [.. layers.Select(layer => new SummarizedLayer(layer.Name, layer.Weights.ToString(), layer.Activations?.ToString(), Algorithms: null))],
        [.. floats.Where(tensor => tensor.Axes > 1 && tensor.Name.EndsWith(WeightSuffix, StringComparison.Ordinal))
            .Select(tensor => new KeptLayer(tensor.Name[..^WeightSuffix.Length], "no codes"))],
        []);

    /// <summary>The same summary with more warnings, each included once.</summary>
    public RunSummary With(IEnumerable<string> warnings) => this with { Warnings = [.. Warnings.Concat(warnings).Distinct()] };

    /// <summary>The same summary, with a warning if the result takes as many bytes as its source, or more.</summary>
    /// <param name="bytes">Bytes of the result.</param>
    /// <param name="sourceBytes">Bytes of the source.</param>
    public RunSummary WithSizes(long bytes, long sourceBytes) => bytes < sourceBytes ? this : With(
    [
        string.Create(
            CultureInfo.InvariantCulture,
            $"the result is not smaller than its source: {bytes:N0} bytes instead of {sourceBytes:N0}; codes with their scales and zero points take more "
                + $"than the float weights, so use larger groups or fewer bits"),
    ]);

    /// <summary>The summary as readable lines: quantized layers and kept layers by kind, then the warnings.</summary>
    public IEnumerable<string> Lines() => Entries().Select(entry => $"{entry.Heading,-11} {entry.Text}");

    /// <summary>The lines and their headings: <c>quantized</c>, <c>kept float</c> or <c>warning</c>.</summary>
    public IEnumerable<(string Heading, string Text)> Entries()
    {
        foreach (var kind in Quantized.GroupBy(layer => (layer.Weights, layer.Activations, layer.Algorithms)))
        {
            var (weights, inputs, algorithms) = kind.Key;
            var how = $"{(inputs is null ? string.Empty : $", inputs {inputs}")}{(algorithms is null ? string.Empty : $", by {algorithms}")}";
            yield return ("quantized", $"{Count(kind.Count())} to {weights}{how}");
        }

        foreach (var kind in Kept.GroupBy(layer => layer.Reason))
        {
            yield return ("kept float", $"{Count(kind.Count())}: {kind.Key} ({Names([.. kind.Select(layer => layer.Name)])})");
        }

        foreach (var warning in Warnings)
        {
            yield return ("warning", warning);
        }
    }

    /// <summary>Names for a sentence: the first few, and how many more there are.</summary>
    internal static string Names(IReadOnlyList<string> names) =>
        names.Count <= Named ? string.Join(", ", names) : $"{string.Join(", ", names.Take(Named))} and {names.Count - Named} more";

    private static string Count(int layers) => layers == 1 ? "1 layer" : string.Create(CultureInfo.InvariantCulture, $"{layers} layers");

    private static string Reason(Recipe recipe, RunFacts facts, ModelLayer layer)
    {
        if (facts.Target?.Type is { } type && layer.Columns % type.BlockSize() != 0)
        {
            return string.Create(CultureInfo.InvariantCulture,
                $"rows of {layer.Columns} do not divide into blocks of {facts.Target.Name}, which hold {type.BlockSize()}");
        }

        return recipe.Rules.FirstOrDefault(rule => rule.Matches(layer.Name)) is { } keeping ? $"the rule '{keeping.Pattern}' keeps it" : "no rule matches it";
    }
}
