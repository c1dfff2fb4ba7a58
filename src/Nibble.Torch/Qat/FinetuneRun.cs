using Nibble.Torch.Training;
using Nibble.Torch.Data;
using Nibble.Files;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Models;

namespace Nibble.Torch.Qat;

/// <summary>A training of a float model on a task, without any quantizer: what quantization starts from and is compared with.</summary>
/// <param name="Source">The float model, which will be trained in place (<see cref="LoadedModel.OpenWithHead"/>).</param>
/// <param name="Settings">How to train.</param>
/// <param name="Data">Data to train on.</param>
/// <param name="Output">The folder to write: a float checkpoint.</param>
public sealed record FinetuneOptions(LoadedModel Source, QatSettings Settings, ITaskData Data, string Output)
{
    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Steps between two checkpoints; null saves after about each minute.</summary>
    public int? CheckpointEvery { get; init; }

    /// <summary>Whether what an interrupted run has left is thrown away.</summary>
    public bool Restart { get; init; }
}

/// <summary>What a training has made.</summary>
/// <param name="FinalLoss">The training loss of the last step.</param>
/// <param name="Losses">The training loss of every step; empty where the run before was killed at its very end.</param>
/// <param name="HeldOutLosses">The losses on held-out data.</param>
public sealed record FinetuneResult(double? FinalLoss, IReadOnlyList<TrainingPoint> Losses, IReadOnlyList<TrainingPoint> HeldOutLosses);

/// <summary>Trains a float model on a task, resuming where a run before was interrupted.</summary>
/// <remarks>The training saves itself beside the output. On the same number of threads, however often it is killed, the checkpoint has the same
/// bytes.</remarks>
public static class FinetuneRun
{
    /// <summary>Runs.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps; what is done is kept for the next run.</param>
    /// <exception cref="NibbleException">The training has diverged, the output exists, or its job folder belongs to another job.</exception>
    public static FinetuneResult Run(FinetuneOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (Path.Exists(options.Output) && (options.Restart || !OutputJob.IsJoined(options.Output)))
        {
            throw new NibbleException($"{options.Output}: the output folder exists already; give another, or delete it first");
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
                // A fault of the model or the data: the same command would fail again, and another is another job.
                job.Abandon();
                throw;
            }
        }

        job.Finish(options.Output);
        return result;
    }

    /// <summary>All that the result's bytes depend on.</summary>
    private static Dictionary<string, string> Identity(FinetuneOptions options)
    {
        var settings = RecipeFile.ToJson(new Recipe("finetune", [new RecipeRule("*", Weights: null)]) { Qat = options.Settings });
        return JobIdentity.ValuesOf("finetune", options.Source.ConfigJson, ("settings", settings), options.Source.Hashes, options.Data.Hash, options.Seed);
    }
}
