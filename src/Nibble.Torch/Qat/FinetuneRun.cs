using Nibble.Torch.Training;
using Nibble.Torch.Data;
using Nibble.Files;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Models;

namespace Nibble.Torch.Qat;

/// <summary>Options for training a float model on a task, without quantizers. The result is the starting point and the reference for quantization.</summary>
/// <param name="Source">The float model, which is trained in place (<see cref="LoadedModel.OpenWithHead"/>).</param>
/// <param name="Settings">The training settings.</param>
/// <param name="Data">The training data.</param>
/// <param name="Output">The folder of the float checkpoint to write.</param>
public sealed record FinetuneOptions(LoadedModel Source, QatSettings Settings, ITaskData Data, string Output)
{
    /// <summary>The seed for all random choices. Default: 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Steps between two checkpoints. Default: null, about one checkpoint per minute.</summary>
    public int? CheckpointEvery { get; init; }

    /// <summary>Whether to delete the unfinished work of an interrupted run. Default: false, which resumes it.</summary>
    public bool Restart { get; init; }
}

/// <summary>The result of a fine-tuning run.</summary>
/// <param name="FinalLoss">The training loss of the last step.</param>
/// <param name="Losses">The training loss of every step. Empty if the run only finished the work of a completed earlier run.</param>
/// <param name="HeldOutLosses">The losses on held-out data.</param>
public sealed record FinetuneResult(double? FinalLoss, IReadOnlyList<TrainingPoint> Losses, IReadOnlyList<TrainingPoint> HeldOutLosses);

/// <summary>Trains a float model on a task. Resumes an interrupted run.</summary>
/// <remarks>
/// Checkpoints are saved next to the output. With the same number of threads, the result has the same bytes no matter how often the run is killed.
/// </remarks>
public static class FinetuneRun
{
    /// <summary>Trains the model and writes the checkpoint.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Receives progress after each step.</param>
    /// <param name="cancellation">Cancels between steps. Finished work is kept for the next run.</param>
    /// <exception cref="NibbleException">Training diverged, the output exists, or its job folder belongs to another job.</exception>
    public static FinetuneResult Run(FinetuneOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (Path.Exists(options.Output) && (options.Restart || !OutputJob.IsJoined(options.Output)))
        {
            throw new NibbleException($"{options.Output}: the output folder exists already. Choose another folder, or delete it first");
        }

        using var job = new QatJob(options.Output, Identity(options), options.Restart);
        var result = new FinetuneResult(null, [], []);
        if (!job.Joined)
        {
            DiskSpace.Require(job.At(OutputJob.ArtifactName), options.Source.Bytes, "the trained model");
            try
            {
                var trainer = new QuantizationAwareTrainer(
                    options.Source, recipe: null, options.Settings, options.Data, CalibrationOptions.For(options.Source.Definition), options.Seed)
                {
                    Checkpoints = new CheckpointOptions(job.Checkpoint, options.CheckpointEvery),
                };
                trainer.Train(progress, cancellation);
                job.Join(options.Source.Save);
                result = new FinetuneResult(trainer.Losses[^1].Loss, trainer.Losses, trainer.HeldOutLosses);
            }
            catch (NibbleException exception) when (exception is not DamagedFileException && !File.Exists(job.Checkpoint))
            {
                // The model or the data are at fault. The same call would fail again, and a different call is a different job.
                job.Abandon();
                throw;
            }
        }

        job.Finish(options.Output);
        return result;
    }

    /// <summary>Everything the bytes of the result depend on.</summary>
    private static Dictionary<string, string> Identity(FinetuneOptions options)
    {
        var settings = RecipeFile.ToJson(new Recipe("finetune", [new RecipeRule("*", Weights: null)]) { Qat = options.Settings });
        return JobIdentity.ValuesOf("finetune", options.Source.ConfigJson, ("settings", settings), options.Source.Hashes, options.Data.Hash, options.Seed);
    }
}
