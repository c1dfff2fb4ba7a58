using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>A run of quantization-aware training from a checkpoint to an artifact.</summary>
/// <param name="Source">The float model, which will be trained in place.</param>
/// <param name="Recipe">What to do with each layer.</param>
/// <param name="Settings">How to train.</param>
/// <param name="Text">Text to train on, and to calibrate static activations with.</param>
/// <param name="Output">The folder to write.</param>
public sealed record QatOptions(LoadedModel Source, Recipe Recipe, QatSettings Settings, TokenizedText Text, string Output)
{
    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Steps between two checkpoints; null saves after about each minute.</summary>
    public int? CheckpointEvery { get; init; }

    /// <summary>Whether what an interrupted run has left is thrown away.</summary>
    public bool Restart { get; init; }
}

/// <summary>What a run has made.</summary>
/// <param name="Artifact">The artifact.</param>
/// <param name="FinalLoss">The training loss of the last step.</param>
/// <param name="Losses">The training loss of every step; empty where the run before was killed at its very end.</param>
/// <param name="HeldOutLosses">The losses on held-out text.</param>
public sealed record QatResult(QuantizationResult Artifact, double FinalLoss, IReadOnlyList<TrainingPoint> Losses, IReadOnlyList<TrainingPoint> HeldOutLosses);

/// <summary>Trains a model into an artifact, going on where a run before was interrupted.</summary>
/// <remarks>The training saves itself beside the output. On the same number of threads, however often it is killed, the artifact has the same bytes.</remarks>
public static class QatRun
{
    private const string CheckpointName = "checkpoint.safetensors";

    /// <summary>Runs.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps; what is done is kept for the next run.</param>
    /// <exception cref="NibbleException">The model cannot be trained so, the training has diverged, the output exists, or its job folder belongs to another job.</exception>
    public static QatResult Run(QatOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (Path.Exists(options.Output) && (options.Restart || !OutputJob.IsJoined(options.Output)))
        {
            throw new NibbleException($"{options.Output}: the output folder exists already; give another, or delete it first");
        }

        using var job = new OutputJob(options.Output, Identity(options), options.Restart);
        var checkpoint = job.At(CheckpointName);
        IReadOnlyList<TrainingPoint> losses = [], heldOut = [];
        if (!job.Joined)
        {
            try
            {
                var trainer = new QuantizationAwareTrainer(options.Source, options.Recipe, options.Settings, options.Text, CalibrationOptions.For(options.Source.Model.Config), options.Seed)
                {
                    Checkpoints = new CheckpointOptions(checkpoint, options.CheckpointEvery),
                };
                trainer.Train(progress, cancellation);
                job.Join(folder => QuantizedModelFile.Save(trainer.Convert(), folder));
                (losses, heldOut) = (trainer.Losses, trainer.HeldOutLosses);
            }
            catch (NibbleException) when (!File.Exists(checkpoint))
            {
                // A fault of the model, the text or the recipe: the same command would fail again, and another is another job.
                job.Abandon();
                throw;
            }
        }

        job.Finish(options.Output);
        var written = QuantizedModelFile.Load(options.Output);
        var artifact = new QuantizationResult(options.Source.Name, written.Layers.Count, options.Source.Bytes, QuantizedModelFile.TensorBytes(options.Output));
        return new QatResult(artifact, written.Provenance.Metrics[QuantizationAwareTrainer.FinalLossMetric], losses, heldOut);
    }

    /// <summary>All that the result's bytes depend on.</summary>
    private static Dictionary<string, string> Identity(QatOptions options) => new()
    {
        ["version of Nibble"] = Conversion.Version,
        ["method"] = "qat",
        ["recipe"] = RecipeFile.ToJson(options.Recipe with { Qat = options.Settings }),
        ["model"] = string.Join(' ', options.Source.Hashes.OrderBy(item => item.Key, StringComparer.Ordinal).Select(item => $"{item.Key}:{item.Value}")),
        ["data"] = System.Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(options.Text.Ids.AsSpan()))),
        ["seed"] = options.Seed.ToString(CultureInfo.InvariantCulture),
        ["threads"] = get_num_threads().ToString(CultureInfo.InvariantCulture),
    };
}
