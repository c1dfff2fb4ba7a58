using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Ptq;

/// <summary>Post-training quantization: quantizes a trained model without training.</summary>
/// <remarks>
/// Only one decoder block is in memory at a time, with the statistics of its inputs and one batch of activations. Finished blocks are written immediately. A
/// run that was stopped or killed therefore resumes after the last finished block and produces the same bytes as an uninterrupted run.
/// </remarks>
internal static class PostTrainingQuantizer
{
    /// <summary>Quantizes a checkpoint into an artifact.</summary>
    /// <param name="options">The request.</param>
    /// <param name="progress">Receives progress after each layer.</param>
    /// <param name="cancellation">Cancels between layers and batches. Finished work is kept for the next run.</param>
    /// <exception cref="NibbleException">
    /// The model cannot be loaded, the recipe matches no layer or needs data that are missing, the output exists, or its job folder belongs to another job.
    /// </exception>
    public static QuantizationResult Run(PtqRequest options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        using var run = new PtqRun(options, progress, cancellation);

        // Warnings about the recipe come before the long run.
        foreach (var warning in run.Summarize().Warnings)
        {
            options.Tell(warning);
        }

        return run.Run();
    }

    /// <summary>Runs as part of another run, which has already reported warnings about the recipe.</summary>
    private static QuantizationResult RunPart(PtqRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        using var run = new PtqRun(options with { IsPart = true }, progress, cancellation);
        return run.Run();
    }

    /// <summary>Estimates the cost of a run by executing its expensive part on one block and a few windows. Writes nothing.</summary>
    /// <param name="options">The run to estimate.</param>
    /// <param name="cancellation">Cancels between layers and batches.</param>
    /// <exception cref="NibbleException">As for <see cref="Run(PtqRequest, IProgress{RunProgress}?, CancellationToken)"/>.</exception>
    public static RunEstimate Estimate(PtqRequest options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        return PtqProbe.Run(options, cancellation);
    }

    /// <summary>Quantizes the checkpoint that a model was loaded from. Nothing is left on disk.</summary>
    /// <param name="source">The float model, unchanged since it was loaded from its folder.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="data">Calibration data. Null is enough for recipes that use no activations.</param>
    /// <param name="seed">The seed for all random choices.</param>
    /// <param name="progress">Receives progress after each layer.</param>
    /// <param name="cancellation">Cancels between layers and batches.</param>
    /// <exception cref="NibbleException">The model is already quantized, or the recipe matches no layer or needs data that are missing.</exception>
    public static QuantizedModel Run(
        LoadedModel source, Recipe recipe, ICalibrationData? data, long seed, IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default) =>
        Run(source, options => options, recipe, data, seed, progress, cancellation);

    /// <summary>Quantizes the checkpoint that a model was loaded from. Nothing is left on disk.</summary>
    /// <param name="source">The float model, unchanged since it was loaded from its folder.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="options">The options. The task comes from the model.</param>
    /// <param name="progress">Receives progress after each layer.</param>
    /// <param name="cancellation">Cancels between layers and batches.</param>
    /// <exception cref="NibbleException">The model is already quantized, or the recipe matches no layer or needs data that are missing.</exception>
    public static QuantizedModel Run(LoadedModel source, Recipe recipe, PtqOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation) =>
        InMemory(source, output => (Run(new PtqRequest(source.Folder, recipe, output, options with { Task = source.Task }), progress, cancellation), output));

    /// <summary>Quantizes the checkpoint that a model was loaded from, and trains each block if training settings are passed.</summary>
    internal static QuantizedModel Run(
        LoadedModel source, Recipe recipe, ICalibrationData? data, long seed, QatSettings? training, Action<string>? warn,
        IProgress<RunProgress>? progress, CancellationToken cancellation) =>
        Run(source, options => options with { Training = training, Warn = warn }, recipe, data, seed, progress, cancellation);

    /// <summary>Quantizes the checkpoint that a model was loaded from, and also rounds each layer on trial with the statistics of its inputs.</summary>
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

    /// <summary>Loads the solution of an earlier run as unfinished work of another run. If there is none, runs or resumes it.</summary>
    internal static QuantizedModel RunOrLoad(PtqRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (!Directory.Exists(options.Output) || IsUnfinished(options.Output))
        {
            RunPart(options with { Checksummed = true }, progress, cancellation);
        }

        FolderChecksums.Require(options.Output, OutputJob.Remedy);
        return QuantizedModelFile.Load(options.Output);
    }

    /// <summary>Whether an existing output was written by a run that was killed directly afterwards. The same run would finish it.</summary>
    public static bool IsUnfinished(string output) => OutputJob.IsJoined(output);

    /// <summary>Rejects an output whose job folder, <c>OUTPUT.job</c>, exists and does not belong to Nibble.</summary>
    /// <exception cref="NibbleException">The job folder does not belong to Nibble.</exception>
    public static void RequireJobPlace(string output) => OutputJob.RequirePlace(output);

    /// <summary>Rejects a recipe that would quantize nothing.</summary>
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
