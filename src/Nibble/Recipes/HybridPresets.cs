namespace Nibble.Recipes;

/// <summary>Presets that divide a model between the methods: another preset's schemes, followed by how their codes are found.</summary>
internal static class HybridPresets
{
    private const string Word = "hybrid-";
    private const string WeightsByPtq = "weights-ptq-activations-qat";
    private const string AttentionByQat = "attention-qat";
    private const string FeedForwardByQat = "mlp-qat";

    /// <summary>The base preset of each kind without a prefix.</summary>
    private static readonly Dictionary<string, string> Bases = new(StringComparer.Ordinal)
    {
        [WeightsByPtq] = "w4a4-g32",
        [AttentionByQat] = "w4a16-g32",
        [FeedForwardByQat] = "w4a16-g32",
    };

    /// <summary>Attention's projections, by their names in decoders and encoders.</summary>
    public static IReadOnlyList<string> Attention { get; } = ["*.self_attn.*", "*.attention.*"];

    /// <summary>The names of the kinds without a prefix.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Bases.Keys.Select(kind => Word + kind)];

    /// <summary>The recipe for a name; null if the name is not a hybrid preset.</summary>
    /// <exception cref="NibbleException">The prefix is not a preset, or has nothing that the kind could train.</exception>
    public static Recipe? Parse(string name)
    {
        if (Bases.Keys.FirstOrDefault(kind => name == Word + kind || name.EndsWith($"-{Word}{kind}", StringComparison.Ordinal)) is not { } kind)
        {
            return null;
        }

        var basis = name.Length == Word.Length + kind.Length ? Bases[kind] : name[..^(1 + Word.Length + kind.Length)];
        var recipe = RecipePresets.Parse(Complete(basis, kind)) with { Name = name };
        if (kind == WeightsByPtq)
        {
            return recipe.Rules[^1].Activations is null
                ? throw new NibbleException(
                    $"There is no preset '{name}': it trains the ranges of activations, but {basis} keeps activations in float; write for example w4a4-g32 or "
                    + $"w4a8-g32 before -{Word}{kind}.")
                : recipe with
                {
                    Rules = [.. recipe.Rules.Select(rule => By(rule, Method.Ptq, Method.Qat))],
                    Qat = basis.Split('-').Contains(RecipePresets.Encoder) ? recipe.Qat : QatSettings.ForRanges,
                };
        }

        var (attention, others) = kind == AttentionByQat ? (Method.Qat, Method.Ptq) : (Method.Ptq, Method.Qat);
        var last = recipe.Rules[^1];
        return recipe with
        {
            Rules = [.. recipe.Rules.SkipLast(1), .. Attention.Select(pattern => By(last with { Pattern = pattern }, attention, attention)),
                By(last, others, others)],
        };
    }

    private static RecipeRule By(RecipeRule rule, Method weights, Method activations) => rule.Weights is null ? rule : rule with
    {
        WeightMethod = weights,
        ActivationMethod = rule.Activations is null ? null : activations,
    };

    /// <summary>Adds what the base preset leaves open: GPTAQ for the weights and, if ranges are trained, SmoothQuant first and static activations.</summary>
    private static string Complete(string basis, string kind)
    {
        var options = basis.Split('-');
        var open = !options.Any(option => option is "stretched" or ['w', 't', ..] || WeightAlgorithms.KnownNames.Contains(option));
        var dynamic = kind == WeightsByPtq && !options.Contains("static") && !options[0].EndsWith("a16", StringComparison.Ordinal);
        return basis + (open ? kind == WeightsByPtq ? "-smoothquant-gptaq" : "-gptaq" : "") + (dynamic ? "-static-mse" : "");
    }
}
