using Nibble.Artifacts;
using Nibble.Files;
using System.Globalization;
using System.Text.Json;
using static TorchSharp.torch;

namespace Nibble.Torch;

/// <summary>How far a job has progressed.</summary>
internal enum JobState
{
    /// <summary>The job resumes from what its folder holds.</summary>
    Unfinished,

    /// <summary>The output is complete and only has to be moved to its final place.</summary>
    Joined,

    /// <summary>The unfinished work is being deleted.</summary>
    Cleared,
}

/// <summary>The file that marks a folder as a job's folder. It records what the job is and how far it has progressed.</summary>
/// <param name="State">How far the job has progressed.</param>
/// <param name="Values">Everything its result depends on, by name.</param>
internal sealed record JobIdentity(JobState State, IReadOnlyDictionary<string, string> Values)
{
    /// <summary>The file's name.</summary>
    public const string FileName = "job.json";

    private const string FormatName = "nibble.job/1";

    /// <summary>The values that the result of every job depends on, by name. Each kind of job adds its own.</summary>
    /// <param name="method">The method, for example <c>ptq</c>.</param>
    /// <param name="configJson">The text of the model's configuration.</param>
    /// <param name="plan">The settings of the job and the name to store them under.</param>
    /// <param name="hashes">SHA-256 of the model's files by name.</param>
    /// <param name="data">A hash of the data, or a description that replaces it.</param>
    /// <param name="seed">The seed for all random choices.</param>
    public static Dictionary<string, string> ValuesOf(
        string method, string configJson, (string Name, string Json) plan, IReadOnlyDictionary<string, string> hashes, string data, long seed)
    {
        return new Dictionary<string, string>
        {
            ["version of Nibble"] = Provenance.ThisVersion,
            ["method"] = method,
            ["configuration"] = configJson,
            [plan.Name] = plan.Json,
            ["model"] = string.Join(' ', hashes.OrderBy(item => item.Key, StringComparer.Ordinal).Select(item => $"{item.Key}:{item.Value}")),
            ["data"] = data,
            ["seed"] = seed.ToString(CultureInfo.InvariantCulture),
            ["threads"] = get_num_threads().ToString(CultureInfo.InvariantCulture),
        };
    }

    /// <summary>Reads the identity of a folder. Returns null if the folder does not belong to a job.</summary>
    public static JobIdentity? Find(string folder)
    {
        try
        {
            // A file of length 0 may be a pipe, and reading it might never end.
            var path = Path.Combine(folder, FileName);
            var stored = new FileInfo(path) is { Exists: true, Length: > 0 } ? JsonSerializer.Deserialize<Stored>(File.ReadAllBytes(path)) : null;
            return stored is { Format: FormatName, Values: { } values }
                && Enum.TryParse<JobState>(stored.State, out var state) && Enum.IsDefined(state)
                && values.Values.All(value => value is not null)
                ? new JobIdentity(state, values)
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>Writes the identity into a folder and replaces the previous one.</summary>
    public void Write(string folder)
    {
        var stored = new Stored(FormatName, State.ToString(), new SortedDictionary<string, string>(Values.ToDictionary(), StringComparer.Ordinal));
        AtomicFile.Write(Path.Combine(folder, FileName), stream => JsonSerializer.Serialize(stream, stored));
    }

    private sealed record Stored(string? Format, string? State, SortedDictionary<string, string>? Values);
}
