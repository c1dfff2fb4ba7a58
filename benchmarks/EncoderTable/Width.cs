using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>A row of the table: how wide the weights and the inputs of the encoder's linear layers are.</summary>
/// <remarks>
/// Weights and inputs have one scale per tensor, the table of words included. The classifier is 8 bits wide, per output channel, in every row, as the last layer
/// usually is in tables of this kind. Tables of positions and types, norms, softmax and the products inside attention stay float.
/// </remarks>
/// <param name="Name">What the row is called.</param>
/// <param name="WeightBits">Bits of the weights.</param>
/// <param name="ActivationBits">Bits of the inputs.</param>
/// <param name="PublishedPtq">What PTQ usually loses, as published.</param>
/// <param name="PublishedQat">What QAT usually loses, as published.</param>
internal sealed record Width(string Name, int WeightBits, int ActivationBits, string PublishedPtq, string PublishedQat)
{
    public static IReadOnlyList<Width> All { get; } =
    [
        new("INT8", 8, 8, "0.5-1", "0.1-0.3"),
        new("INT4", 4, 4, "2-5", "0.5-2"),
        new("INT4", 4, 8, "2-5", "0.5-2"),
        new("INT3", 3, 3, "–", "–"),
        new("INT2", 2, 2, "10-20", "3-8"),
        new("INT2", 2, 8, "10-20", "3-8"),
    ];

    /// <summary>Bits of the table of words: those of the weights, unless the first layer is to be 8 bits wide like the last.</summary>
    public int WordBits { get; init; } = WeightBits;

    public string Label => $"w{WeightBits}a{ActivationBits}";

    /// <summary>What PTQ chooses from: how weights lie on the grid, how their ranges are found and who watches the inputs.</summary>
    public IEnumerable<Recipe> Candidates()
    {
        foreach (var observer in new[] { ObserverKind.MinMax, ObserverKind.Percentile, ObserverKind.Mse, ObserverKind.Entropy })
        {
            foreach (var range in new[] { WeightRange.MinMax, WeightRange.Mse, WeightRange.Search })
            {
                yield return Create(new QuantizationScheme(WeightBits, symmetric: WeightBits > 2, Granularity.Tensor), range, observer);
            }

            if (WeightBits == 2)
            {
                yield return Create(QuantizationScheme.CreateStretched(2, Granularity.Tensor), WeightRange.Mse, observer);
            }
        }
    }

    /// <summary>What QAT trains: learned scales and offsets of inputs; at 2 bits a grid that is balanced around zero.</summary>
    /// <param name="settings">How to train.</param>
    public Recipe Trained(QatSettings settings) =>
        Create(WeightBits == 2 ? QuantizationScheme.CreateStretched(2, Granularity.Tensor) : new QuantizationScheme(WeightBits, symmetric: true, Granularity.Tensor), WeightRange.Mse, ObserverKind.Percentile) with
        {
            Qat = settings,
        };

    /// <summary>The weights of a PTQ recipe, frozen, and trained ranges of the inputs; biases, norms and what else stays float adapt. A quarter of the steps.</summary>
    /// <param name="ptq">The best of <see cref="Candidates"/>.</param>
    /// <param name="settings">How QAT trains.</param>
    public static Recipe Hybrid(Recipe ptq, QatSettings settings) => ptq with
    {
        Rules = [.. ptq.Rules.Select(rule => rule.Weights is null ? rule : rule with { WeightMethod = Method.Ptq, ActivationMethod = rule.Activations is null ? null : Method.Qat })],
        Qat = settings with { Steps = settings.Steps / 4, FloatLearningRate = settings.LearningRate },
    };

    private Recipe Create(QuantizationScheme weights, WeightRange range, ObserverKind observer)
    {
        var eight = new QuantizationScheme(8, symmetric: true, Granularity.Channel);
        ActivationRule Inputs(int bits) => new(new QuantizationScheme(bits, symmetric: false, Granularity.Tensor), observer);
        var grid = weights.Stretched ? "stretched" : weights.Symmetric ? "symmetric" : "asymmetric";
        return new Recipe(
            $"{Label}, {grid} {range}, {observer}",
            [
                new("*.word_embeddings", WordBits == WeightBits ? weights : eight, Range: range),
                new("*_embeddings", null),
                new("classifier", eight, Inputs(8)),
                new("*", weights, Inputs(ActivationBits), range),
            ]);
    }
}
