using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tasks;

namespace Nibble.Torch.Qat;

/// <summary>A run of quantization-aware training from a checkpoint to an artifact.</summary>
/// <param name="Source">The float model, which will be trained in place.</param>
/// <param name="Recipe">What to do with each layer.</param>
/// <param name="Settings">How to train.</param>
/// <param name="Data">Data to train on, and to calibrate static activations with; null lets a float decoder write them (LLM-QAT, Liu et al. 2023).</param>
/// <param name="Output">The folder to write.</param>
public sealed record QatOptions(LoadedModel Source, Recipe Recipe, QatSettings Settings, ITaskData? Data, string Output)
{
    /// <summary>Windows that the model writes at most, where their number is not given.</summary>
    public const int UsualWindows = 512;

    /// <summary>Windows that the model writes where there is no text, at least 1.</summary>
    public int Windows { get; init; } = (int)Math.Min((long)Settings.Steps * Settings.BatchSize, UsualWindows);

    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Steps between two checkpoints; null saves after about each minute.</summary>
    public int? CheckpointEvery { get; init; }

    /// <summary>Where the teacher's predictions are kept for other runs; null computes them each time.</summary>
    public TeacherCacheOptions? TeacherCache { get; init; }

    /// <summary>Whether what an interrupted run has left is thrown away.</summary>
    public bool Restart { get; init; }

    /// <summary>The format that the recipe was fitted to, of which the summary then speaks; null for none.</summary>
    public RecipeTarget? Target { get; init; }

    /// <summary>Told what the user should know although the run goes on.</summary>
    public Action<string>? Warn { get; init; }
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

        using var job = new QatJob(options.Output, Identity(options), options.Restart);
        IReadOnlyList<TrainingPoint> losses = [], heldOut = [];
        RunSummary? summary = null;
        var calibration = options.Data is null ? $"{options.Windows} windows of {options.Settings.SequenceLength} tokens of text that the float model wrote itself" : null;
        if (!job.Joined)
        {
            DiskSpace.Require(job.At("artifact"), options.Source.CountArtifactBytes(options.Recipe), "the artifact");
            try
            {
                var data = options.Data ?? Sample(options, job.Text, progress, cancellation);
                var trainer = new QuantizationAwareTrainer(options.Source, options.Recipe, options.Settings, data, CalibrationOptions.For(options.Source.Definition), options.Seed)
                {
                    Checkpoints = new CheckpointOptions(job.Checkpoint, options.CheckpointEvery),
                    TeacherCache = options.TeacherCache,
                    Target = options.Target,
                };
                foreach (var warning in trainer.Summary.Warnings)
                {
                    options.Warn?.Invoke(warning);
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

    /// <summary>The text that the float model writes, or has written in the run before.</summary>
    private static TokenizedText Sample(QatOptions options, string path, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var (tokenizer, length) = (options.Source.Tokenizer, options.Settings.SequenceLength);
        if (!File.Exists(path))
        {
            // Some modes do not hold the float model.
            using var writer = options.Settings.Mode is TrainingMode.Full or TrainingMode.Adapters ? null : LoadedModel.Open(options.Source.Folder, options.Source.Task);
            var text = SelfText.Sample((writer ?? options.Source).Decoder, tokenizer, options.Windows, length, options.Seed, progress, cancellation);
            ChecksummedFile.Write(path, stream => stream.Write(MemoryMarshal.AsBytes(text.Ids.AsSpan())));
        }

        var ids = MemoryMarshal.Cast<byte, int>(ChecksummedFile.Read(path, OutputJob.Remedy)).ToArray();
        return ids.Length == (long)options.Windows * length && ids.All(id => id >= 0 && id < tokenizer.VocabularySize)
            ? new TokenizedText(SelfText.Name, ids, tokenizer.StartId)
            : throw new DamagedFileException(
                path,
                $"found {ids.Length} tokens or ids beyond the vocabulary, expected {(long)options.Windows * length} below {tokenizer.VocabularySize}",
                OutputJob.Remedy);
    }

    /// <summary>All that the result's bytes depend on.</summary>
    private static Dictionary<string, string> Identity(QatOptions options)
    {
        var recipe = RecipeFile.ToJson(options.Recipe with { Qat = options.Settings });
        var data = options.Data?.Hash ?? $"{SelfText.Name} {options.Windows}";
        return new(JobIdentity.ValuesOf("qat", options.Source.ConfigJson, ("recipe", recipe), options.Source.Hashes, data, options.Seed))
        {
            ["teacher cache"] = options.TeacherCache?.Likeliest.ToString(CultureInfo.InvariantCulture) ?? string.Empty,
        };
    }
}
