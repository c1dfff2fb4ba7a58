using System.Globalization;
using Nibble.Algorithms.RoundToNearest;
using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>The first road for classifiers: rounds weights to nearest and finds the ranges of inputs, without training.</summary>
/// <remarks>The tables of words, positions and types stay float where no rule names embeddings, as decoders' do.</remarks>
public static class ClassifierQuantizer
{
    private const string WeightSuffix = ".weight";
    private const int BatchSize = 16;
    private static readonly RecipeRule Tables = new("*_embeddings", Weights: null);

    /// <summary>Quantizes a float classifier.</summary>
    /// <param name="classifier">The classifier, which computes what the result does afterwards.</param>
    /// <param name="recipe">What to do with its layers; weights are rounded to nearest, within the ranges of the rules. <see cref="PtqSettings.Windows"/> of its texts are looked at.</param>
    /// <param name="texts">Texts to calibrate static inputs on, whose classes do not matter; null is enough where no input is static.</param>
    /// <param name="seed">Drives which texts are looked at.</param>
    /// <param name="progress">Told after each batch.</param>
    /// <param name="cancellation">Stops between batches.</param>
    /// <exception cref="NibbleException">The classifier is quantized already; the recipe asks for more than rounding to nearest, matches no layer, or needs texts that are missing.</exception>
    public static QuantizedModel Run(
        LoadedClassifier classifier, Recipe recipe, ClassificationData? texts, long seed, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(classifier);
        ArgumentNullException.ThrowIfNull(recipe);
        if (classifier.Quantized is not null)
        {
            throw new NibbleException($"{classifier.Folder}: the classifier is quantized already; give the float one that it was made from");
        }

        Require(recipe);
        var rules = NamesTables(recipe) ? recipe : recipe with { Rules = [Tables, .. recipe.Rules] };
        string? calibration = null;
        var inputs = ActivationCalibration.Run(classifier.Model, rules, () => calibration = Feed(classifier.Model, texts ?? throw ActivationCalibration.MissingText(recipe), recipe.Ptq, seed, progress, cancellation));
        var prepared = QuantizationAware.Prepare(classifier.Model, rules, new PrepareOptions { Weights = RoundWeights(classifier.Model, rules), Inputs = inputs });
        classifier.Model.eval();
        PostTrainingQuantizer.RequireLayers(prepared.Layers.Count, [.. classifier.Model.named_parameters().Where(IsMatrix).Select(item => item.name[..^WeightSuffix.Length])], classifier.Name, recipe);
        using var checkpoint = Checkpoint.Open(classifier.Folder);
        var converted = classifier.Complete(prepared.Convert(seed));
        return converted with
        {
            Provenance = converted.Provenance with { Method = "ptq", Calibration = calibration, SourceHashes = checkpoint.Hashes() },
            Summary = Summarize(classifier.Model, recipe, texts, calibrates: calibration is not null),
        };
    }

    /// <summary>Rounds the matrices of a module to nearest.</summary>
    /// <param name="module">The module; unchanged afterwards.</param>
    /// <param name="recipe">Says which, and how.</param>
    /// <returns>By layer name.</returns>
    public static IReadOnlyDictionary<string, QuantizedTensor> RoundWeights(nn.Module module, Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(recipe);
        var rounded = new Dictionary<string, QuantizedTensor>();
        foreach (var (name, parameter) in module.named_parameters().Where(IsMatrix))
        {
            var layer = name[..^WeightSuffix.Length];
            if (recipe.RuleFor(layer) is { Weights: { } scheme } rule)
            {
                rounded[layer] = NamedFault.In(layer, () =>
                    RoundToNearest.Quantize(parameter.data<float>().ToArray(), (int)parameter.shape[0], (int)parameter.shape[1], scheme, rule.Range));
            }
        }

        return rounded;
    }

    private static bool NamesTables(Recipe recipe) => recipe.Rules.Any(rule => rule.Pattern.Contains("embeddings", StringComparison.Ordinal));

    private static RunSummary Summarize(BertClassifier model, Recipe recipe, ClassificationData? texts, bool calibrates)
    {
        var linears = model.Linears.Select(linear => linear.Key).ToHashSet(StringComparer.Ordinal);
        List<ModelLayer> layers =
        [
            .. model.named_parameters().Where(IsMatrix).Select(item => (Name: item.name[..^WeightSuffix.Length], item.parameter.shape))
                .Select(item => new ModelLayer(item.Name, (int)item.shape[0], (int)item.shape[1]) { HasInput = linears.Contains(item.Name) }),
        ];
        var tables = layers.Where(layer => !layer.HasInput && !NamesTables(recipe)).ToHashSet();
        return RunSummary.Of(recipe, new RunFacts(Method.Ptq, [.. layers.Where(layer => !tables.Contains(layer))])
        {
            OutOfReach = [.. layers.Where(tables.Contains).Select(layer => new KeptLayer(layer.Name, "tables stay float unless a rule names embeddings"))],
            CalibrationPieces = calibrates ? Math.Min(texts!.Count, recipe.Ptq.Windows) : null,
            HasIdleData = texts is not null && !calibrates,
        });
    }

    private static bool IsMatrix((string Name, TorchSharp.Modules.Parameter Parameter) item) => item.Name.EndsWith(WeightSuffix, StringComparison.Ordinal) && item.Parameter.dim() == 2;

    private static void Require(Recipe recipe)
    {
        recipe.RequirePtq();
        var more = recipe.Rules.FirstOrDefault(rule => rule.Weights is not null && rule.Algorithms != WeightAlgorithms.RoundToNearest) is { } rule ? string.Join(" and ", rule.Algorithms.Names)
            : recipe.Rotation != Rotation.None ? "rotation"
            : recipe.KeyValueCache is not null ? "a quantized key-value cache"
            : null;
        if (more is not null)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' asks for {more}, but classifiers are rounded to nearest; give a recipe without, such as w8a8-static, w8a8 or w4a16-g32");
        }
    }

    /// <summary>Runs texts through a float classifier.</summary>
    /// <returns>Which, in words.</returns>
    private static string Feed(BertClassifier model, ClassificationData texts, PtqSettings settings, long seed, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var batches = new ShuffledBatches(texts, BatchSize, seed);
        var count = Math.Min(texts.Count, settings.Windows);
        using var guard = no_grad();
        for (var (i, done) = (0, 0); done < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var indices = batches.TextsOf(i);
            var batch = texts.Batch(indices[..Math.Min(indices.Length, count - done)]);
            model.call(batch.Ids, batch.Mask);
            done += (int)batch.Ids.shape[0];
            progress?.Report(new RunProgress("calibrate", done, count));
        }

        return string.Create(CultureInfo.InvariantCulture, $"{count} texts of {texts.Name}");
    }
}
