using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models.Llama;

namespace Nibble.Torch.Models;

/// <summary>What a summary of a run has to know of a decoder.</summary>
internal static class DecoderLayers
{
    /// <summary>The layers that a rule can quantize, in the model's order.</summary>
    public static IReadOnlyList<ModelLayer> Of(LlamaConfig config)
    {
        List<(string Name, long[] Shape)> inside = [.. LlamaCheckpoint.BlockTensors(config).Where(tensor => tensor.Shape.Length == 2)];
        var blocks = Enumerable.Range(0, config.Layers)
            .SelectMany(index => inside.Select(
                tensor => new ModelLayer(LlamaCheckpoint.BlockPrefix(index) + tensor.Name[..^".weight".Length], (int)tensor.Shape[0], (int)tensor.Shape[1])));
        var head = new ModelLayer(LlamaCheckpoint.HeadName, config.VocabularySize, config.HiddenSize);
        return config.TiedHead ? [.. blocks] : [.. blocks, head];
    }

    /// <summary>What no rule reaches.</summary>
    public static IReadOnlyList<KeptLayer> OutOfReach(LlamaConfig config) =>
    [
        new KeptLayer(LlamaCheckpoint.EmbeddingName[..^".weight".Length], "embeddings of decoders stay float"),
        .. config.TiedHead
            ? [new KeptLayer(LlamaCheckpoint.HeadName, "it is the embedding (tie_word_embeddings); a rule that names it alone gives it a matrix of its own")]
            : Array.Empty<KeptLayer>(),
    ];

    /// <summary>What a recipe does with a model, in memory or on disk.</summary>
    /// <param name="config">The model's shape, its head untied where the recipe wants that.</param>
    /// <param name="recipe">The recipe.</param>
    /// <param name="method">What chooses codes where a rule names no method.</param>
    /// <param name="text">The text to calibrate on, where something is calibrated; null where nothing is.</param>
    /// <param name="target">The format that the recipe was fitted to; null for none.</param>
    /// <param name="epochs">How often training goes over its data; null where nothing is trained.</param>
    /// <param name="hasIdleData">Whether a text was given that nothing looks at.</param>
    public static RunSummary Summarize(
        LlamaConfig config, Recipe recipe, Method method, TokenizedText? text, RecipeTarget? target, double? epochs = null, bool hasIdleData = false)
    {
        var length = Math.Min(recipe.Ptq.SequenceLength, config.MaxSequence);
        return RunSummary.Of(recipe, new RunFacts(method, Of(config))
        {
            OutOfReach = OutOfReach(config),
            Target = target,
            CalibrationPieces = text is null ? null : Math.Min(recipe.Ptq.Windows, text.WindowCount(length)),
            PieceTokens = length,
            Epochs = epochs,
            HasIdleData = hasIdleData,
        });
    }
}
