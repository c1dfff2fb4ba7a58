using Nibble.Torch.Training;
using Nibble.Artifacts;
using Nibble.Torch.Data;
using System.Globalization;
using Nibble.Models;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Planning;

/// <summary>The effect on the model of quantizing one layer.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Change">The change: a recipe's name, or <c>a8</c> for an input with 8 bits.</param>
/// <param name="Distance">The resulting distance from the float model.</param>
internal sealed record LayerDistance(string Layer, string Change, Distance Distance);

/// <summary>The effect on the model of quantizing everything that a recipe matches.</summary>
/// <param name="Distance">The resulting distance from the float model.</param>
/// <param name="Bytes">The size of the artifact's tensors in bytes.</param>
internal sealed record RecipeDistance(Distance Distance, long Bytes);

/// <summary>The effect on the model of training it with a recipe.</summary>
/// <param name="Distance">The resulting distance from the float model.</param>
/// <param name="SetupSeconds">Seconds before the second step, minus the duration of one step.</param>
/// <param name="StepSeconds">Seconds per step, the mean of all but the first.</param>
internal sealed record TrainedDistance(Distance Distance, double SetupSeconds, double StepSeconds);

/// <summary>Measures the effect of quantization on a model: one layer at a time, or the whole model with a recipe.</summary>
/// <remarks>
/// Each result is stored in a file whose name depends on everything that the result depends on. An interrupted study therefore resumes, and repeating a study
/// measures nothing.
/// </remarks>
internal sealed class LayerStudy : IDisposable
{
    private readonly StudyOptions options;
    private readonly ITaskData calibration;
    private readonly FloatComparison comparison;
    private readonly MeasurementCache cache;
    private readonly Dictionary<string, string> identity;

    /// <summary>Creates a study.</summary>
    /// <exception cref="NibbleException">
    /// The model is already quantized, the text is too short, or a recipe does more than choose codes.
    /// </exception>
    public LayerStudy(StudyOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Source.RequireFloat();
        this.options = options;
        foreach (var recipe in options.Recipes)
        {
            Require(recipe);
        }

        if (options.Recipes.GroupBy(recipe => recipe.Name).FirstOrDefault(group => group.Count() > 1) is { Key: var twice })
        {
            throw new NibbleException($"the recipe {twice} occurs twice, expected different recipes");
        }

        (calibration, HeldOut) = options.Split();
        comparison = FloatComparison.Create(options.Source.Model, HeldOut, options.Context);
        cache = new MeasurementCache(options.CacheFolder);
        identity = new Dictionary<string, string>
        {
            ["version"] = Provenance.ThisVersion,
            ["model"] = string.Join(' ', options.Source.Hashes.OrderBy(item => item.Key, StringComparer.Ordinal).Select(item => $"{item.Key}:{item.Value}")),
            ["calibration"] = calibration.Hash,
            ["heldOut"] = HeldOut.Hash,
            ["context"] = options.Context.ToString(CultureInfo.InvariantCulture),
            ["seed"] = options.Seed.ToString(CultureInfo.InvariantCulture),
            ["threads"] = get_num_threads().ToString(CultureInfo.InvariantCulture),
        };
        if (TaskConfig.In(options.Source.ConfigJson) is { } task && task.Task != ModelTask.LanguageModelling)
        {
            // The same files are a different model if they are read for another task or pooled differently.
            identity["task"] = task.ToString();
        }
    }

    /// <summary>The number of new measurements, not counting those found in the cache.</summary>
    public int Made => cache.Made;

    /// <summary>The layers that a recipe quantizes, in the model's order.</summary>
    public IReadOnlyList<string> Layers =>
        [.. options.Source.Model.Linears().Select(linear => linear.Key).Where(layer => options.Recipes.Any(recipe => recipe.RuleFor(layer) is not null))];

    /// <summary>The options of the study.</summary>
    public StudyOptions Options => options;

    /// <summary>The float model.</summary>
    public LoadedModel Source => options.Source;

    /// <summary>The data to measure on.</summary>
    public ITaskData HeldOut { get; }

    /// <summary>Summarizes what a recipe does with each layer of the model, with warnings for the user.</summary>
    public RunSummary Summarize(Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var length = Math.Min(recipe.Ptq.SequenceLength, Source.Definition.MaxSequence);
        var pieces = recipe.Rules.Any(rule => rule.Algorithms.NeedsData) ? calibration.Pieces(recipe.Ptq.Windows, length, options.Seed) : null;
        return ModelSummary.Of(Source.Definition, recipe, recipe.IsHybrid ? Method.Qat : Method.Ptq, pieces, target: null);
    }

    /// <summary>Measures a recipe: quantizes the whole model with it, reads the artifact back and compares.</summary>
    public RecipeDistance Measure(Recipe recipe, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var key = KeyOf(("recipe", TextOf(recipe)));
        if (cache.Find<RecipeDistance>(key) is { } known)
        {
            return known;
        }

        var work = Directory.CreateTempSubdirectory("nibble-study-").FullName;
        try
        {
            var output = Path.Combine(work, "artifact");
            var made = PostTrainingQuantizer.Run(
                new PtqRequest(options.Source.Folder, recipe, output) { Data = calibration, Seed = options.Seed, Task = Source.Task }, progress, cancellation);
            using var model = LoadedModel.Open(output);
            var measured = new RecipeDistance(comparison.Measure(model.Model, cancellation), made.Bytes);
            cache.Add(key, measured);
            return measured;
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    /// <summary>Trains the model with a recipe on the data that are not held out, and compares. Returns null if training diverges.</summary>
    public TrainedDistance? MeasureTrained(Recipe recipe, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var key = KeyOf(("trained", RecipeFile.ToJson(recipe with { Name = string.Empty })));
        if (cache.Find<TrainedDistance>(key) is { } known)
        {
            return known;
        }

        using var model = LoadedModel.OpenToTrain(options.Source.Folder, recipe, Source.Task);
        var trainer = new QuantizationAwareTrainer(model, recipe, recipe.Qat, calibration, CalibrationOptions.For(model.Definition), options.Seed);
        var clock = new StepClock(progress);
        try
        {
            trainer.Train(clock, cancellation);
        }
        catch (NibbleException)
        {
            return null;
        }

        var measured = new TrainedDistance(comparison.Measure(model.Model, cancellation), clock.SetupSeconds, clock.StepSeconds);
        cache.Add(key, measured);
        return measured;
    }

    /// <summary>Measures each layer with each recipe while the rest of the model stays float.</summary>
    /// <param name="progress">Receives progress after each layer.</param>
    /// <param name="cancellation">Cancels between windows.</param>
    public IReadOnlyList<LayerDistance> MeasureWeights(IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        var wanted = (from layer in Layers
                      from number in Enumerable.Range(0, options.Recipes.Count)
                      let rule = options.Recipes[number].RuleFor(layer)
                      where rule is not null
                      select (Layer: layer, Number: number, Key: KeyOf(("layer", layer), ("weights", TextOf(options.Recipes[number] with { Rules = [rule] })))))
                          .ToList();
        var found = wanted.ToDictionary(item => item, item => cache.Find<Distance>(item.Key));
        var missing = wanted.Where(item => found[item] is null).ToList();
        if (missing.Count > 0)
        {
            var open = missing.Select(item => (item.Layer, item.Number)).ToHashSet();
            var trials = new TrialRounding(options.Recipes, (layer, number) => open.Contains((layer, number)));
            PostTrainingQuantizer.Run(options.Source, AllFloat, calibration, options.Seed, trials, progress, cancellation);
            using var model = FloatCopy();
            foreach (var (item, done) in missing.Select((item, i) => (item, i + 1)))
            {
                found[item] = comparison.MeasureWith(model, item.Layer, trials.Weights[(item.Layer, item.Number)], cancellation);
                cache.Add(item.Key, found[item]!);
                progress?.Report(new RunProgress("measure", done, missing.Count));
            }
        }

        return [.. wanted.Select(item => new LayerDistance(item.Layer, options.Recipes[item.Number].Name, found[item]!))];
    }

    /// <summary>Measures each layer with only its input quantized, symmetric per token.</summary>
    /// <param name="bits">The bit widths, 2 to 8.</param>
    /// <param name="progress">Receives progress after each layer.</param>
    /// <param name="cancellation">Cancels between windows.</param>
    public IReadOnlyList<LayerDistance> MeasureActivations(
        IReadOnlyList<int> bits, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(bits);
        var layers = Layers;
        var results = new List<LayerDistance>();
        using var model = FloatCopy();
        var linears = model.Linears().ToDictionary();
        foreach (var layer in layers)
        {
            foreach (var width in bits)
            {
                var scheme = new QuantizationScheme(width, symmetric: true, Granularity.Token);
                var key = KeyOf(("layer", layer), ("activations", scheme.ToString()));
                var distance = cache.Find<Distance>(key);
                if (distance is null)
                {
                    linears[layer].InputQuantizer = new DynamicInputQuantizer(scheme);
                    distance = comparison.Measure(model, cancellation);
                    linears[layer].InputQuantizer = null;
                    cache.Add(key, distance);
                }

                results.Add(new LayerDistance(layer, string.Create(CultureInfo.InvariantCulture, $"a{width}"), distance));
                progress?.Report(new RunProgress("measure", results.Count, layers.Count * bits.Count));
            }
        }

        return results;
    }

    /// <summary>
    /// Estimates the cost of quantizing each layer separately with each recipe, without running the quantized model. Returns nothing for an embedding model,
    /// which has no loss whose curvature could be estimated.
    /// </summary>
    public IReadOnlyList<CurvatureEstimate> EstimateWeights(IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (Source.Definition.Task == ModelTask.Embedding)
        {
            return [];
        }

        var length = Math.Min(options.Recipes[0].Ptq.SequenceLength, options.Source.Definition.MaxSequence);
        var key = KeyOf(("curvature", string.Join('\n', options.Recipes.Select(recipe => recipe.Name + TextOf(recipe)))));
        if (cache.Find<List<CurvatureEstimate>>(key) is { } known)
        {
            return known;
        }

        var rounded = new TrialRounding(options.Recipes, (_, _) => true);
        PostTrainingQuantizer.Run(options.Source, AllFloat, calibration, options.Seed, rounded, progress, cancellation);
        using var model = FloatCopy();
        var estimates = new CurvatureStudy(model, Layers, calibration, length, progress, cancellation).Run(Layers, options.Recipes, rounded, options.Seed);
        cache.Add(key, estimates);
        return estimates;
    }

    private IQuantizableModel FloatCopy() =>
        LoadedModel.Simulate(Conversion.Assemble(options.Source, [], AllFloat, "ptq", options.Seed, new Dictionary<string, double>()), "study");

    /// <inheritdoc/>
    public void Dispose() => comparison.Dispose();

    /// <summary>Rejects a recipe whose effect on one layer cannot be separated from its effect on others.</summary>
    private static void Require(Recipe recipe)
    {
        if (recipe.Rotation != Rotation.None || recipe.KeyValueCache is not null
            || recipe.Rules.Any(rule =>
                rule is { Weights: not null } && (rule.Activations is not null || rule.Algorithms != new WeightAlgorithms(Rounding: rule.Algorithms.Rounding))))
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' cannot be measured one layer at a time: expected only weights, by one of rtn, importance, hqq, gptq and gptaq; "
                    + $"scaling, learned rounding, bias correction and rotation change several layers at once");
        }
    }

    /// <summary>A recipe that leaves every layer float and calibrates like the studied recipes.</summary>
    private Recipe AllFloat => new("float", [new RecipeRule("*", Weights: null)]) { Ptq = options.Recipes[0].Ptq };

    /// <summary>The text of a recipe without its name and training settings.</summary>
    private static string TextOf(Recipe recipe) => RecipeFile.ToJson(recipe with { Name = string.Empty, Qat = new QatSettings() });

    private string KeyOf(params ReadOnlySpan<(string Name, string Value)> measurement)
    {
        var all = new Dictionary<string, string>(identity);
        foreach (var (name, value) in measurement)
        {
            all.Add(name, value);
        }

        return MeasurementCache.Key(all);
    }
}
