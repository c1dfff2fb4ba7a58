using Nibble.Files;
using Nibble.Models;
using Nibble.Numerics;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>The sizes and costs of options that are known without trying them.</summary>
internal static class Sizes
{
    /// <summary>The cost of a PTQ option by formula.</summary>
    public static MethodCost PtqCost(ModelShape shape, Candidate candidate, ITaskData? data)
    {
        if (!candidate.NeedsData || data is null)
        {
            return MethodCost.RoundToNearest(shape, candidate.Bits);
        }

        var settings = candidate.Recipe.Ptq;
        var tokens = data is TextData texts
            ? Math.Min(settings.Windows * (long)settings.SequenceLength, texts.Sequences.Sum(sequence => (long)sequence.Ids.Length))
            : Math.Min(settings.Windows, Math.Max(1, data.CountPieces(settings.SequenceLength))) * (long)settings.SequenceLength;
        return MethodCost.Gptq(
            shape, candidate.Bits, tokens, LengthOf(data, settings.SequenceLength),
            candidate.Recipe.Rules.Any(rule => rule.Algorithms.Rounding == WeightRounding.Gptaq));
    }

    /// <summary>Tokens per sequence. For separate texts, which have different lengths, this is the mean.</summary>
    /// <param name="data">The data. Null for none.</param>
    /// <param name="longest">Tokens per window of a running text.</param>
    public static int LengthOf(ITaskData? data, int longest) =>
        data is TextData texts ? Math.Clamp((int)Math.Round(texts.Sequences.Average(sequence => sequence.Ids.Length)), 1, longest) : longest;

    /// <summary>The size of the artifact's tensors in bytes, without names and shapes in the file's header.</summary>
    public static long ArtifactBytes(LoadedModel source, Recipe recipe) => source.Bytes + source.Model.Linears().Sum(linear =>
        recipe.RuleFor(linear.Key) is { } rule && source.StoredAs.TryGetValue(linear.Key + ".weight", out var type)
            ? QuantizedTensor.CountStoredBytes(
                linear.Value.OutFeatures, linear.Value.InFeatures, rule.Weights!) - ((long)linear.Value.OutFeatures * linear.Value.InFeatures * type.ByteSize())
            : 0);
}
