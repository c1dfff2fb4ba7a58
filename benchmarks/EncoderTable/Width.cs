using Nibble.Models;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>A row of the table: how wide the weights and the inputs of the linear layers of the blocks are.</summary>
/// <remarks>
/// Weights are symmetric per output channel, inputs asymmetric per tensor with a range that calibration fixes. Tables, norms, softmax, the products inside
/// attention and what stands behind the last block stay float.
/// </remarks>
/// <param name="WeightBits">Bits of the weights.</param>
/// <param name="ActivationBits">Bits of the inputs.</param>
/// <param name="PublishedPtq">What PTQ usually loses, in points, as the page that the project implements says; empty where it says nothing.</param>
/// <param name="PublishedQat">The same of QAT.</param>
/// <param name="Epochs">How often QAT goes over the data: where rounding costs more, training needs longer.</param>
internal sealed record Width(int WeightBits, int ActivationBits, string PublishedPtq, string PublishedQat, double Epochs)
{
    public static IReadOnlyList<Width> All { get; } =
    [
        new(8, 8, "0.5–1", "0.1–0.3", 1), new(4, 8, "2–5", "0.5–2", 1), new(4, 4, "2–5", "0.5–2", 3), new(3, 8, "", "", 1), new(2, 8, "10–20", "3–8", 3),
    ];

    public string Label => $"w{WeightBits}a{ActivationBits}";

    /// <summary>Weights rounded to nearest within the range of the least squared error, inputs from their lowest to their highest value.</summary>
    public Recipe Nearest(ModelDefinition model) => Create(model, "rtn", ObserverKind.MinMax, WeightRange.Mse, WeightAlgorithms.RoundToNearest);

    /// <summary>What PTQ chooses from, on data that are not reported.</summary>
    public IEnumerable<Recipe> Candidates(ModelDefinition model) =>
    [
        Nearest(model),
        .. new[] { ObserverKind.Mse, ObserverKind.Percentile }.Select(observer =>
            Create(model, $"gptaq, {observer.ToString().ToLowerInvariant()}", observer, WeightRange.Search, WeightAlgorithms.Parse(["gptaq"]))),
    ];

    /// <summary>What QAT trains.</summary>
    /// <param name="model">The model.</param>
    /// <param name="settings">How.</param>
    public Recipe Trained(ModelDefinition model, QatSettings settings) =>
        Create(model, "qat", ObserverKind.Mse, WeightRange.Mse, WeightAlgorithms.RoundToNearest) with { Qat = settings };

    private Recipe Create(ModelDefinition model, string name, ObserverKind observer, WeightRange range, WeightAlgorithms algorithms) => new(
        $"{Label}, {name}",
        [
            .. model.HeadLayers.Select(layer => new RecipeRule(layer.Name, Weights: null)),
            new RecipeRule(
                "*",
                new QuantizationScheme(WeightBits, symmetric: true, Granularity.Channel),
                new ActivationRule(new QuantizationScheme(ActivationBits, symmetric: false, Granularity.Tensor), observer),
                range)
            {
                Algorithms = algorithms,
            },
        ]);
}
