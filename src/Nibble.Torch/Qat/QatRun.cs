using Nibble.Torch.Training;
using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Torch.Qat;

/// <summary>What a run has made.</summary>
/// <param name="Artifact">The artifact.</param>
/// <param name="FinalLoss">The training loss of the last step.</param>
/// <param name="Losses">The training loss of every step; empty where the run before was killed at its very end.</param>
/// <param name="HeldOutLosses">The losses on held-out text.</param>
public sealed record QatResult(QuantizationResult Artifact, double FinalLoss, IReadOnlyList<TrainingPoint> Losses, IReadOnlyList<TrainingPoint> HeldOutLosses);

/// <summary>Trains a model into an artifact, going on where a run before was interrupted.</summary>
/// <remarks>The training saves itself beside the output. On the same number of threads, however often it is killed, the artifact has the same bytes.</remarks>
internal static class QatRun
{
    /// <summary>Runs.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps; what is done is kept for the next run.</param>
    /// <exception cref="NibbleException">The model cannot be trained so, the training has diverged, the output exists, or its job folder belongs to another
    /// job.</exception>
    public static QatResult Run(QatRequest options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (Path.Exists(options.Output) && (options.Restart || !OutputJob.IsJoined(options.Output)))
        {
            throw new NibbleException($"{options.Output}: the output folder exists already; give another, or delete it first");
        }

        using var job = new QatJob(options.Output, Identity(options), options.Restart);
        IReadOnlyList<TrainingPoint> losses = [], heldOut = [];
        RunSummary? summary = null;
        var calibration = options.Data is null ? options.OwnText : null;
        if (!job.Joined)
        {
            DiskSpace.Require(job.At(OutputJob.ArtifactName), options.Source.CountArtifactBytes(options.Recipe), "the artifact");
            try
            {
                var data = options.Data ?? Sample(options, job.Text, progress, cancellation);
                var trainer = new QuantizationAwareTrainer(
                    options.Source, options.Recipe, options.Settings, data, CalibrationOptions.For(options.Source.Definition), options.Seed)
                {
                    Checkpoints = new CheckpointOptions(job.Checkpoint, options.CheckpointEvery),
                    TeacherCache = options.TeacherCache,
                    Target = options.Target,
                };
                foreach (var warning in trainer.Summary.Warnings)
                {
                    options.Logger?.Advise(warning);
                }

                trainer.Train(progress, cancellation);
                summary = trainer.Summary;
                var model = trainer.Convert();
                job.Join(folder => QuantizedModelFile.Save(model with { Provenance = model.Provenance with { Calibration = calibration } }, folder));
                (losses, heldOut) = (trainer.Losses, trainer.HeldOutLosses);
            }
            catch (NibbleException exception) when (exception is not DamagedFileException && !File.Exists(job.Checkpoint))
            {
                // A fault of the model, the text or the recipe: the same command would fail again, and another is another job.
                job.Abandon();
                throw;
            }
        }

        job.Finish(options.Output);
        var written = QuantizedModelFile.Load(options.Output);
        var bytes = QuantizedModelFile.TensorBytes(options.Output);

        // A run that was killed at its very end has nothing more to tell than the recipe does.
        summary ??= ModelSummary.Of(options.Source.Definition, options.Recipe with { Qat = options.Settings }, Method.Qat, pieces: null,
            options.Target);
        var artifact = new QuantizationResult(options.Source.Name, written.Layers.Count, options.Source.Bytes, bytes, written.Provenance.Calibration)
        {
            Summary = summary.WithSizes(bytes, options.Source.Bytes),
        };
        return new QatResult(artifact, written.Provenance.Metrics[QuantizationAwareTrainer.FinalLossMetric], losses, heldOut);
    }

    /// <summary>Runs in memory: neither the artifact nor the way to it is written.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Stops between steps.</param>
    /// <exception cref="NibbleException">The model cannot be trained so, or the training has diverged.</exception>
    public static QuantizedModel RunInMemory(QatRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var data = options.Data ?? Write(options, progress, cancellation);
        var trainer = new QuantizationAwareTrainer(
            options.Source, options.Recipe, options.Settings, data, CalibrationOptions.For(options.Source.Definition), options.Seed)
        {
            TeacherCache = options.TeacherCache,
            Target = options.Target,
        };
        foreach (var warning in trainer.Summary.Warnings)
        {
            options.Logger?.Advise(warning);
        }

        trainer.Train(progress, cancellation);
        var model = trainer.Convert();
        return model with { Provenance = model.Provenance with { Calibration = options.Data is null ? options.OwnText : null } };
    }

    /// <summary>The text that the float model writes.</summary>
    private static TokenizedText Write(QatRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        // Some modes do not hold the float model.
        using var writer = options.Settings.Mode is TrainingMode.Full or TrainingMode.Adapters ? null
            : LoadedModel.Open(options.Source.Folder, options.Source.Task);
        return SelfText.Sample(
            (writer ?? options.Source).Decoder, options.Source.Tokenizer, options.WindowCount, options.Settings.SequenceLength, options.Seed, progress,
            cancellation);
    }

    /// <summary>The text that the float model writes, or has written in the run before.</summary>
    private static TokenizedText Sample(QatRequest options, string path, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var (tokenizer, length) = (options.Source.Tokenizer, options.Settings.SequenceLength);
        if (!File.Exists(path))
        {
            var text = Write(options, progress, cancellation);
            ChecksummedFile.Write(path, stream => stream.Write(MemoryMarshal.AsBytes(text.Ids.AsSpan())));
        }

        var ids = MemoryMarshal.Cast<byte, int>(ChecksummedFile.Read(path, OutputJob.Remedy)).ToArray();
        return ids.Length == (long)options.WindowCount * length && ids.All(id => id >= 0 && id < tokenizer.VocabularySize)
            ? new TokenizedText(SelfText.Name, ids, tokenizer.StartId)
            : throw new DamagedFileException(
                path,
                $"found {ids.Length} tokens or ids beyond the vocabulary, expected {(long)options.WindowCount * length} below {tokenizer.VocabularySize}",
                OutputJob.Remedy);
    }

    /// <summary>All that the result's bytes depend on.</summary>
    private static Dictionary<string, string> Identity(QatRequest options)
    {
        var recipe = RecipeFile.ToJson(options.Recipe with { Qat = options.Settings });
        var data = options.Data?.Hash ?? $"{SelfText.Name} {options.WindowCount}";
        return new(JobIdentity.ValuesOf("qat", options.Source.ConfigJson, ("recipe", recipe), options.Source.Hashes, data, options.Seed))
        {
            ["teacher cache"] = options.TeacherCache?.Likeliest.ToString(CultureInfo.InvariantCulture) ?? string.Empty,
        };
    }
}
