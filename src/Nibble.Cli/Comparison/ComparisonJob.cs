using Nibble.Files;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Nibble.Cli.Report;
using Nibble.Recipes;
using Nibble.Torch;

namespace Nibble.Cli.Comparison;

/// <summary>A comparison's unfinished work: the variants made so far, and what was measured of each.</summary>
/// <remarks>Each variant is made by a run that resumes by itself; one that was measured is not made again.</remarks>
internal sealed class ComparisonJob : OutputJob
{
    private const string VariantsName = "variants";
    private const string RecordsName = "records";

    /// <summary>Begins a comparison, or resumes the one that was interrupted.</summary>
    /// <param name="output">The folder or the report that the comparison is to write.</param>
    /// <param name="identity">All that its result depends on, by name.</param>
    /// <param name="restart">Whether what an interrupted run has left is thrown away.</param>
    public ComparisonJob(string output, IReadOnlyDictionary<string, string> identity, bool restart)
        : base(output, identity, restart)
    {
        if (Joined)
        {
            return;
        }

        // Killed while the variants became the output: they go back, and are joined again.
        if (Directory.Exists(At(ArtifactName)) && !Directory.Exists(Variants))
        {
            Directory.Move(At(ArtifactName), Variants);
        }

        Directory.CreateDirectory(Variants);
        Directory.CreateDirectory(At(RecordsName));
    }

    /// <summary>Whether something was done before.</summary>
    public bool HasRecords => Joined || Directory.EnumerateFileSystemEntries(At(RecordsName)).Any() || Directory.EnumerateFileSystemEntries(Variants).Any();

    /// <summary>Where the variants are made.</summary>
    public string Variants => At(VariantsName);

    /// <summary>What was recorded under a name; null where nothing was.</summary>
    /// <exception cref="DamagedFileException">The record is no longer what was written.</exception>
    public T? Find<T>(string name, JsonTypeInfo<T> type)
        where T : class => File.Exists(PathOf(name)) ? JsonSerializer.Deserialize(ChecksummedFile.Read(PathOf(name), Remedy), type) : null;

    /// <summary>Records something.</summary>
    public void Keep<T>(string name, T value, JsonTypeInfo<T> type) =>
        ChecksummedFile.Write(PathOf(name), stream => JsonSerializer.Serialize(stream, value, type));

    /// <summary>Makes the variants, with what else is written beside them, the output.</summary>
    /// <param name="output">The folder.</param>
    /// <param name="complete">Writes into the folder of the variants.</param>
    public void Publish(string output, Action<string> complete)
    {
        if (!Joined)
        {
            complete(Variants);
            Join(folder => Directory.Move(Variants, folder));
        }

        Finish(output);
    }

    /// <inheritdoc/>
    protected override bool Owns(string name) => base.Owns(name) || name is VariantsName or RecordsName;

    private string PathOf(string name) => Path.Combine(At(RecordsName), name.Replace(' ', '-') + ".json");
}

/// <summary>What was measured of a variant, with what the comparison's document leaves out.</summary>
internal sealed record MeasuredRun(
    ComparisonRun Run, IReadOnlyList<TrainingLoss> TrainingLosses, RunSummary Summary, IReadOnlyList<WeightHistogram> WeightHistograms)
{
    public static MeasuredRun Of(ComparisonRun run) => new(run, run.TrainingLosses, run.Summary, run.WeightHistograms);

    public ComparisonRun Restore() => Run with { TrainingLosses = TrainingLosses, Summary = Summary, WeightHistograms = WeightHistograms };
}

/// <summary>What was measured of the float model.</summary>
internal sealed record MeasuredFloat(Baseline Baseline, int Count, long Predictions, double? Loss);

/// <summary>What making a variant took and gave, beside the artifact.</summary>
internal sealed record MadeRun(double Seconds, long PeakBytes, RunSummary Summary, IReadOnlyList<TrainingLoss> TrainingLosses);

/// <summary>Seconds that interrupted attempts at something took.</summary>
internal sealed record SpentTime(double Seconds);

[JsonSourceGenerationOptions(NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(MeasuredRun))]
[JsonSerializable(typeof(MeasuredFloat))]
[JsonSerializable(typeof(MadeRun))]
[JsonSerializable(typeof(SpentTime))]
internal sealed partial class RecordJson : JsonSerializerContext;
