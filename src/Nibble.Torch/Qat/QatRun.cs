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

/// <summary>The result of a QAT run.</summary>
/// <param name="Artifact">The artifact.</param>
/// <param name="FinalLoss">The training loss of the last step.</param>
/// <param name="Losses">The training loss of every step. Empty if the run only finished the work of a completed earlier run.</param>
/// <param name="HeldOutLosses">The losses on held-out data.</param>
public sealed record QatResult(QuantizationResult Artifact, double FinalLoss, IReadOnlyList<TrainingPoint> Losses, IReadOnlyList<TrainingPoint> HeldOutLosses);

/// <summary>Trains a model into an artifact. Resumes an interrupted run.</summary>
/// <remarks>
/// Checkpoints are saved next to the output. With the same number of threads, the artifact has the same bytes no matter how often the run is killed.
/// </remarks>
internal static class QatRun
{
    /// <summary>Steps that an estimate takes. The first is slower than the others and does not count.</summary>
    private const int ProbeSteps = 4;

    /// <summary>Trains the model and writes the artifact.</summary>
    /// <param name="options">The request.</param>
    /// <param name="progress">Receives progress after each step.</param>
    /// <param name="cancellation">Cancels between steps. Finished work is kept for the next run.</param>
    /// <exception cref="NibbleException">
    /// The model cannot be trained with the recipe, training diverged, the output exists, or its job folder belongs to another job.
    /// </exception>
    public static QatResult Run(QatRequest options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (Path.Exists(options.Output) && (options.Restart || !OutputJob.IsJoined(options.Output)))
        {
            throw new NibbleException($"{options.Output}: the output folder exists already. Choose another folder, or delete it first");
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
                // The model, the data or the recipe are at fault. The same call would fail again, and a different call is a different job.
                job.Abandon();
                throw;
            }
        }

        job.Finish(options.Output);
        var written = QuantizedModelFile.Load(options.Output);
        var bytes = QuantizedModelFile.TensorBytes(options.Output);

        // If an earlier run had already completed the training, the summary can only describe the recipe.
        summary ??= ModelSummary.Of(options.Source.Definition, options.Recipe with { Qat = options.Settings }, Method.Qat, pieces: null,
            options.Target);
        var artifact = new QuantizationResult(options.Source.Name, written.Layers.Count, options.Source.Bytes, bytes, written.Provenance.Calibration)
        {
            Summary = summary.WithSizes(bytes, options.Source.Bytes),
        };
        return new QatResult(artifact, written.Provenance.Metrics[QuantizationAwareTrainer.FinalLossMetric], losses, heldOut);
    }

    /// <summary>Estimates a run from a few of its steps. Nothing is left behind, except that the model in memory is trained a little.</summary>
    /// <param name="options">The request, with data.</param>
    /// <param name="cancellation">Cancels between steps.</param>
    /// <exception cref="NibbleException">The model cannot be trained with the recipe, or trains one block after another.</exception>
    public static RunEstimate Estimate(QatRequest options, CancellationToken cancellation = default)
    {
        var settings = options.Settings;
        if (settings.Mode == TrainingMode.BlockWise)
        {
            throw new NibbleException($"the recipe {options.Recipe.Name} trains one block after another, which a dry run cannot estimate");
        }

        using var memory = PeakMemory.Watch();
        var folder = Directory.CreateTempSubdirectory("nibble-dry-run-");
        try
        {
            var checkpoint = Path.Combine(folder.FullName, "checkpoint");
            var clock = new StepClock(next: null);
            var probed = settings with { Steps = ProbeSteps, EvaluateEvery = 0, Patience = 0 };
            if (settings.Distillation is { } teacher)
            {
                probed = probed with { Distillation = teacher with { TeacherSteps = 0 } };
            }

            var trainer = new QuantizationAwareTrainer(
                options.Source, options.Recipe, probed, options.Data!,
                CalibrationOptions.For(options.Source.Definition), options.Seed)
            {
                Checkpoints = new CheckpointOptions(checkpoint, ProbeSteps),
                Target = options.Target,
            };
            trainer.Train(clock, cancellation);
            var steps = settings.Steps + (settings.Distillation?.TeacherSteps ?? 0);
            var summary = trainer.SummaryOf(settings.Steps);
            return new RunEstimate(
                clock.SetupSeconds + (steps * clock.StepSeconds), memory.Bytes, options.Source.CountArtifactBytes(options.Recipe),
                new FileInfo(checkpoint).Length, summary.Quantized.Count)
            {
                Summary = summary,
            };
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    /// <summary>Trains the model in memory. Neither the artifact nor checkpoints are written.</summary>
    /// <param name="options">The request.</param>
    /// <param name="progress">Receives progress after each step.</param>
    /// <param name="cancellation">Cancels between steps.</param>
    /// <exception cref="NibbleException">The model cannot be trained with the recipe, or training diverged.</exception>
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

    /// <summary>Generates text with the float model.</summary>
    private static TokenizedText Write(QatRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        // Some training modes do not keep the float model in memory.
        using var writer = options.Settings.Mode is TrainingMode.Full or TrainingMode.Adapters ? null
            : LoadedModel.Open(options.Source.Folder, options.Source.Task);
        return SelfText.Sample(
            (writer ?? options.Source).Decoder, options.Source.Tokenizer, options.WindowCount, options.Settings.SequenceLength, options.Seed, progress,
            cancellation);
    }

    /// <summary>Generates text with the float model, or reads the text that an earlier run generated.</summary>
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

    /// <summary>Everything the bytes of the result depend on.</summary>
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
