using Nibble.Artifacts;
using Nibble.Files;
using System.Globalization;
using System.Text.Json;
using static TorchSharp.torch;

namespace Nibble.Torch;

/// <summary>How far a job is.</summary>
internal enum JobState
{
    /// <summary>Its work goes on from what its folder holds.</summary>
    Unfinished,

    /// <summary>Its output is made and only has to be moved to its place.</summary>
    Joined,

    /// <summary>What it has done is being thrown away.</summary>
    Cleared,
}

/// <summary>The file that makes a folder a job's: what the job is and how far.</summary>
/// <param name="State">How far it is.</param>
/// <param name="Values">All that its result depends on, by name.</param>
internal sealed record JobIdentity(JobState State, IReadOnlyDictionary<string, string> Values)
{
    /// <summary>The file's name.</summary>
    public const string FileName = "job.json";

    private const string FormatName = "nibble.job/1";

    /// <summary>What the result of every job depends on, by name; jobs add what is theirs.</summary>
    /// <param name="method">What is done, such as <c>ptq</c>.</param>
    /// <param name="configJson">The text of the model's configuration.</param>
    /// <param name="plan">How it is done, and what that is called.</param>
    /// <param name="hashes">SHA-256 of the model's files by name.</param>
    /// <param name="data">A hash of the data, or what takes its place.</param>
    /// <param name="seed">Drives everything random.</param>
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

    /// <summary>Reads the identity of a folder; null where the folder is no job's.</summary>
    public static JobIdentity? Find(string folder)
    {
        try
        {
            // What has no length may be a pipe, which would not end.
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

    /// <summary>Writes the identity into a folder, in the place of the one before.</summary>
    public void Write(string folder)
    {
        var stored = new Stored(FormatName, State.ToString(), new SortedDictionary<string, string>(Values.ToDictionary(), StringComparer.Ordinal));
        AtomicFile.Write(Path.Combine(folder, FileName), stream => JsonSerializer.Serialize(stream, stored));
    }

    private sealed record Stored(string? Format, string? State, SortedDictionary<string, string>? Values);
}
