using System.Text.Json;
using Nibble.Formats;

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
