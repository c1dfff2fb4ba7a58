using System.Globalization;
using Nibble.Files;
using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>A layer that a recipe decides about.</summary>
/// <param name="Name">The module's name in the checkpoint.</param>
/// <param name="Rows">Rows of its weight.</param>
/// <param name="Columns">Columns of its weight: the values that a row's groups divide.</param>
public sealed record ModelLayer(string Name, int Rows, int Columns)
{
    /// <summary>Whether it has an input that could be quantized; an embedding, which looks up, has none.</summary>
    public bool HasInput { get; init; } = true;
}

/// <summary>A layer that a run quantizes.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Weights">The scheme of its weights, in words.</param>
/// <param name="Activations">The scheme of its inputs, in words; null where they stay float.</param>
/// <param name="Algorithms">What chooses its codes: the names of post-training algorithms, or <c>qat</c>; null where codes are only read and written.</param>
public sealed record SummarizedLayer(string Name, string Weights, string? Activations, string? Algorithms);

/// <summary>A layer that a run keeps in float.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Reason">Why, as the end of a sentence such as <c>no rule matches it</c>.</param>
public sealed record KeptLayer(string Name, string Reason);

/// <summary>What a run works with, as far as <see cref="RunSummary"/> has to know it.</summary>
/// <param name="Method">What chooses codes where a rule names no method.</param>
/// <param name="Layers">The layers that a rule could quantize, in the model's order.</param>
internal sealed record RunFacts(Method Method, IReadOnlyList<ModelLayer> Layers)
{
    /// <summary>Layers of the model that no rule can reach, and why.</summary>
    public IReadOnlyList<KeptLayer> OutOfReach { get; init; } = [];

    /// <summary>The format that the recipe was fitted to; null for none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Pieces of calibration data, windows or texts, that are looked at; null where none are.</summary>
    public int? CalibrationPieces { get; init; }

    /// <summary>Whether calibration data were given that nothing looks at.</summary>
    public bool HasIdleData { get; init; }

    /// <summary>Tokens of all pieces.</summary>
    public long CalibrationTokens { get; init; }

    /// <summary>Tokens in a window; null where the pieces are texts, which have lengths of their own.</summary>
    public int? WindowTokens { get; init; }

    /// <summary>How often training goes over its data; null where nothing is trained.</summary>
    public double? Epochs { get; init; }
}

/// <summary>What a run does with each layer of a model, and what the user should know of it: what has no effect, and what makes the result worse than it
/// looks.</summary>
/// <remarks>It follows from the recipe and the model alone, so that it is known before the work begins; <see cref="With"/> adds what shows meanwhile.</remarks>
/// <param name="Quantized">The layers that are quantized, in the model's order.</param>
/// <param name="Kept">The layers that stay float, in the model's order.</param>
/// <param name="Warnings">What the user should know, a sentence each.</param>
public sealed record RunSummary(IReadOnlyList<SummarizedLayer> Quantized, IReadOnlyList<KeptLayer> Kept, IReadOnlyList<string> Warnings)
{
    /// <summary>Layers of a kind that are named one by one; more are counted.</summary>
    private const int Named = 3;

    private const string WeightSuffix = ".weight";

    /// <summary>Nothing at all.</summary>
    public static RunSummary Empty { get; } = new([], [], []);

    /// <summary>What a run will do.</summary>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="facts">What it is done with.</param>
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

    /// <summary>What there is of a model that was quantized before, such as what an import has read.</summary>
    /// <param name="layers">Its layers that have codes.</param>
    /// <param name="floats">The names of its other tensors, with how many axes each has; vectors are no layers.</param>
    internal static RunSummary OfCodes(
        IEnumerable<(string Name, QuantizationScheme Weights, QuantizationScheme? Activations)> layers, IEnumerable<(string Name, int Axes)> floats) => new(
        [.. layers.Select(layer => new SummarizedLayer(layer.Name, layer.Weights.ToString(), layer.Activations?.ToString(), Algorithms: null))],
        [.. floats.Where(tensor => tensor.Axes > 1 && tensor.Name.EndsWith(WeightSuffix, StringComparison.Ordinal))
            .Select(tensor => new KeptLayer(tensor.Name[..^WeightSuffix.Length], "no codes"))],
        []);

    /// <summary>The same with further warnings, each once.</summary>
    public RunSummary With(IEnumerable<string> warnings) => this with { Warnings = [.. Warnings.Concat(warnings).Distinct()] };

    /// <summary>The same with a warning where the result takes as many bytes as its source, or more.</summary>
    /// <param name="bytes">Bytes of the result.</param>
    /// <param name="sourceBytes">Bytes of what it was made from.</param>
    public RunSummary WithSizes(long bytes, long sourceBytes) => bytes < sourceBytes ? this : With(
    [
        string.Create(
            CultureInfo.InvariantCulture,
            $"the result is not smaller than its source: {bytes:N0} bytes instead of {sourceBytes:N0}; codes with their scales and zero points take more "
                + $"than the float weights: take larger groups or fewer bits"),
    ]);

    /// <summary>The summary for people, a line each: what was quantized and what was kept, by kinds, then the warnings.</summary>
    public IEnumerable<string> Lines() => Entries().Select(entry => $"{entry.Heading,-11} {entry.Text}");

    /// <summary>The lines and what each is: <c>quantized</c>, <c>kept float</c> or <c>warning</c>.</summary>
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

    /// <summary>Some names for a sentence: a few of them, and how many more there are.</summary>
    internal static string Names(IReadOnlyList<string> names) =>
        names.Count <= Named ? string.Join(", ", names) : $"{string.Join(", ", names.Take(Named))} and {names.Count - Named} more";

    private static string Count(int layers) => layers == 1 ? "1 layer" : string.Create(CultureInfo.InvariantCulture, $"{layers} layers");

    private static string Reason(Recipe recipe, RunFacts facts, ModelLayer layer)
    {
        if (facts.Target?.Type is { } type && layer.Columns % type.BlockSize() != 0)
        {
            return string.Create(CultureInfo.InvariantCulture,
                $"rows of {layer.Columns} are not whole blocks of {facts.Target.Name}, which hold {type.BlockSize()}");
        }

        return recipe.Rules.FirstOrDefault(rule => rule.Matches(layer.Name)) is { } keeping ? $"the rule '{keeping.Pattern}' keeps it" : "no rule matches it";
    }
}
