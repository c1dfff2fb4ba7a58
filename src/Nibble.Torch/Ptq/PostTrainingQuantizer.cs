using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Ptq;

/// <summary>The first road: quantizes a trained model without training it.</summary>
/// <remarks>
/// A decoder block is in memory at a time, with the statistics of its inputs and one batch of activations. Finished blocks are written
/// at once, so a run that was stopped or killed goes on at the last finished one when it is started again, and ends with the same bytes
/// as one that was not interrupted.
/// </remarks>
internal static class PostTrainingQuantizer
{
    /// <summary>Quantizes a checkpoint into an artifact.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="progress">Told after each layer.</param>
    /// <param name="cancellation">Stops between layers and batches; what is finished is kept for the next run.</param>
    /// <exception cref="NibbleException">The model cannot be loaded, the recipe matches no layer or needs text that is missing, the output exists, or its job
    /// folder belongs to another job.</exception>
    public static QuantizationResult Run(PtqRequest options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        using var run = new PtqRun(options, progress, cancellation);

        // What follows from the recipe is said before hours are spent.
        foreach (var warning in run.Summarize().Warnings)
        {
            options.Tell(warning);
        }

        return run.Run();
    }

    /// <summary>A run that is a part of another, which has told itself what follows from the recipe.</summary>
    private static QuantizationResult RunPart(PtqRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        using var run = new PtqRun(options with { IsPart = true }, progress, cancellation);
        return run.Run();
    }

    /// <summary>Estimates what a run would cost, by doing its costly part on one block and a few windows; writes nothing.</summary>
    /// <param name="options">The run to estimate.</param>
    /// <param name="cancellation">Stops between layers and batches.</param>
    /// <exception cref="NibbleException">As for <see cref="Run(PtqRequest, IProgress{RunProgress}?, CancellationToken)"/>.</exception>
    public static PtqEstimate Estimate(PtqRequest options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        return PtqProbe.Run(options, cancellation);
    }

    /// <summary>Quantizes the checkpoint that a model was loaded from, without leaving anything on disk.</summary>
    /// <param name="source">The float model as it is in its folder.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="data">Calibration data; null is enough for recipes that look at no activations.</param>
    /// <param name="seed">Drives everything random.</param>
    /// <param name="progress">Told after each layer.</param>
    /// <param name="cancellation">Stops between layers and batches.</param>
    /// <exception cref="NibbleException">The model is quantized already, or the recipe matches no layer or needs text that is missing.</exception>
    public static QuantizedModel Run(
        LoadedModel source, Recipe recipe, ICalibrationData? data, long seed, IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default) =>
        Run(source, options => options, recipe, data, seed, progress, cancellation);

    /// <summary>Quantizes the checkpoint that a model was loaded from, without leaving anything on disk.</summary>
    /// <param name="source">The float model as it is in its folder.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="options">How; what the model is for is said by the model.</param>
    /// <param name="progress">Told after each layer.</param>
    /// <param name="cancellation">Stops between layers and batches.</param>
    /// <exception cref="NibbleException">The model is quantized already, or the recipe matches no layer or needs text that is missing.</exception>
    public static QuantizedModel Run(LoadedModel source, Recipe recipe, PtqOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation) =>
        InMemory(source, output => (Run(new PtqRequest(source.Folder, recipe, output, options with { Task = source.Task }), progress, cancellation), output));

    /// <summary>Quantizes the checkpoint that a model was loaded from, and trains each block where settings for that are given.</summary>
    internal static QuantizedModel Run(
        LoadedModel source, Recipe recipe, ICalibrationData? data, long seed, QatSettings? training, Action<string>? warn,
        IProgress<RunProgress>? progress, CancellationToken cancellation) =>
        Run(source, options => options with { Training = training, Warn = warn }, recipe, data, seed, progress, cancellation);

    /// <summary>Quantizes the checkpoint that a model was loaded from, and rounds each layer on trial with what is known of its inputs meanwhile.</summary>
    internal static QuantizedModel Run(
        LoadedModel source, Recipe recipe, ICalibrationData? data, long seed, TrialRounding trials, IProgress<RunProgress>? progress,
        CancellationToken cancellation) =>
        Run(source, options => options with { Trials = trials }, recipe, data, seed, progress, cancellation);

    private static QuantizedModel Run(
        LoadedModel source, Func<PtqRequest, PtqRequest> extend, Recipe recipe, ICalibrationData? data, long seed, IProgress<RunProgress>? progress,
        CancellationToken cancellation) =>
        InMemory(source, output =>
        {
            var request = new PtqRequest(source.Folder, recipe, output) { Data = data, Seed = seed, Task = source.Task };
            return (RunPart(extend(request), progress, cancellation), output);
        });

    private static QuantizedModel InMemory(LoadedModel source, Func<string, (QuantizationResult Result, string Output)> run)
    {
        source.RequireFloat();
        var work = Directory.CreateTempSubdirectory("nibble-ptq-").FullName;
        try
        {
            var (result, output) = run(Path.Combine(work, "artifact"));
            return QuantizedModelFile.Load(output) with { TokenizerFolder = source.Folder, Summary = result.Summary };
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    /// <summary>Loads what a run before has made as unfinished work of another, or runs, going on where one was interrupted.</summary>
    internal static QuantizedModel RunOrLoad(PtqRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (!Directory.Exists(options.Output) || IsUnfinished(options.Output))
        {
            RunPart(options with { Checksummed = true }, progress, cancellation);
        }

        FolderChecksums.Require(options.Output, OutputJob.Remedy);
        return QuantizedModelFile.Load(options.Output);
    }

    /// <summary>Whether an output that stands was put there by a run that was killed just after, and that the same run would finish.</summary>
    public static bool IsUnfinished(string output) => OutputJob.IsJoined(output);

    /// <summary>Refuses an output beside which something stands where the unfinished work would be, <c>OUTPUT.job</c>, that is no work of Nibble's.</summary>
    /// <exception cref="NibbleException">It does.</exception>
    public static void RequireJobPlace(string output) => OutputJob.RequirePlace(output);

    /// <summary>Refuses a recipe that would quantize nothing.</summary>
    internal static void RequireLayers(int matched, IReadOnlyList<string> names, string model, Recipe recipe)
    {
        if (matched == 0)
        {
            throw new NibbleException(recipe.Rules.FirstOrDefault(rule => names.Any(rule.Matches)) is { } keeping
                ? $"the recipe '{recipe.Name}' keeps all {names.Count} linear layers of {model} in float, by the rule '{keeping.Pattern}', so nothing would be "
                    + $"quantized"
                : $"the recipe '{recipe.Name}' matches none of the {names.Count} linear layers of {model}, so nothing would be quantized; their names look "
                    + $"like '{names[0]}'");
        }
    }
}
