using Nibble.Files;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Nibble.Cli.Report;
using Nibble.Recipes;
using Nibble.Torch;

namespace Nibble.Cli.Comparison;

/// <summary>A comparison's unfinished work: the variants made so far, and the measurements of each.</summary>
/// <remarks>Each variant is made by a run that can resume. A measured variant is not made again.</remarks>
internal sealed class ComparisonJob : OutputJob
{
    private const string VariantsName = "variants";
    private const string RecordsName = "records";

    /// <summary>Begins a comparison, or resumes an interrupted one.</summary>
    /// <param name="output">The folder or report that the comparison writes.</param>
    /// <param name="identity">Everything that its result depends on, by name.</param>
    /// <param name="restart">Whether to discard the work of an interrupted run.</param>
    public ComparisonJob(string output, IReadOnlyDictionary<string, string> identity, bool restart)
        : base(output, identity, restart)
    {
        if (Joined)
        {
            return;
        }

        // Killed while the variants became the output: move them back, and join them again.
        if (Directory.Exists(At(ArtifactName)) && !Directory.Exists(Variants))
        {
            Directory.Move(At(ArtifactName), Variants);
        }

        Directory.CreateDirectory(Variants);
        Directory.CreateDirectory(At(RecordsName));
    }

    /// <summary>Whether earlier work exists.</summary>
    public bool HasRecords => Joined || Directory.EnumerateFileSystemEntries(At(RecordsName)).Any() || Directory.EnumerateFileSystemEntries(Variants).Any();

    /// <summary>The folder of the variants.</summary>
    public string Variants => At(VariantsName);

    /// <summary>The record with a name; null if there is none.</summary>
    /// <exception cref="DamagedFileException">The record was changed after it was written.</exception>
    public T? Find<T>(string name, JsonTypeInfo<T> type)
        where T : class => File.Exists(PathOf(name)) ? JsonSerializer.Deserialize(ChecksummedFile.Read(PathOf(name), Remedy), type) : null;

    /// <summary>Records something.</summary>
    public void Keep<T>(string name, T value, JsonTypeInfo<T> type) =>
        ChecksummedFile.Write(PathOf(name), stream => JsonSerializer.Serialize(stream, value, type));

    /// <summary>Turns the folder of the variants, with the other files, into the output.</summary>
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

/// <summary>The measurements of the float model.</summary>
internal sealed record MeasuredFloat(Baseline Baseline, int Count, long Predictions, double? Loss);

/// <summary>The cost of making a variant, and what it gave besides the artifact.</summary>
internal sealed record MadeRun(double Seconds, long PeakBytes, RunSummary Summary, IReadOnlyList<TrainingLoss> TrainingLosses);

/// <summary>Seconds spent in interrupted attempts.</summary>
internal sealed record SpentTime(double Seconds);

[JsonSourceGenerationOptions(NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(ComparisonRun))]
[JsonSerializable(typeof(ComparisonEstimate))]
[JsonSerializable(typeof(MeasuredFloat))]
[JsonSerializable(typeof(MadeRun))]
[JsonSerializable(typeof(SpentTime))]
internal sealed partial class RecordJson : JsonSerializerContext;
