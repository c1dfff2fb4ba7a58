using System.Globalization;
using System.Text.Json;
using Nibble.Formats;

namespace Nibble.Torch.Ptq;

/// <summary>The unfinished work of a run, in a folder beside its output: what it is, its finished parts, and the activations to go on from.</summary>
/// <remarks>
/// Everything in it appears whole under its final name or not at all, so a run that is killed anywhere goes on from the last part whose
/// successor's inputs are there. The folder is locked while a run works in it.
/// </remarks>
internal sealed class PtqJob : IDisposable
{
    private const string LockName = "lock";
    private const string StreamSuffix = ".bin";
    private const string ArtifactName = "artifact";
    private const string IdentityName = "job.json";

    /// <summary>What the identity is called once the parts are put together.</summary>
    private const string JoinedName = "joined.json";

    private readonly string folder;
    private readonly FileStream guard;

    private PtqJob(string folder, FileStream guard)
    {
        this.folder = folder;
        this.guard = guard;
    }

    /// <summary>Where the work for an output is kept.</summary>
    public static string FolderOf(string output) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(output)) + ".job";

    /// <summary>Whether the run of an output has put its parts together, so that an output that stands is its own.</summary>
    public static bool IsJoined(string output) => File.Exists(Path.Combine(FolderOf(output), JoinedName));

    /// <summary>Whether the parts are put together.</summary>
    public bool Joined => File.Exists(Path.Combine(folder, JoinedName));

    /// <summary>Begins a job, or goes on with the one that was interrupted.</summary>
    /// <param name="output">The folder that the run is to write.</param>
    /// <param name="identity">All that the result depends on, by name.</param>
    /// <param name="restart">Whether what an interrupted run has left is thrown away.</param>
    /// <exception cref="NibbleException">The folder holds another job, or a run works in it now.</exception>
    public static PtqJob Begin(string output, IReadOnlyDictionary<string, string> identity, bool restart)
    {
        var folder = FolderOf(output);
        Directory.CreateDirectory(folder);
        var guard = Lock(folder);
        try
        {
            if (restart)
            {
                Clear(folder);
            }

            var path = Path.Combine(folder, IsJoined(output) ? JoinedName : IdentityName);
            if (File.Exists(path))
            {
                RequireSame(path, identity);
            }
            else
            {
                // Whatever stands here without an identity was left by a run that had barely begun, or was being deleted.
                Clear(folder);
                AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream, new SortedDictionary<string, string>(identity.ToDictionary(), StringComparer.Ordinal)));
            }

            return new PtqJob(folder, guard);
        }
        catch
        {
            guard.Dispose();
            throw;
        }
    }

    /// <summary>The folder of a finished part.</summary>
    public string Part(int number) => Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"part-{number:D3}"));

    /// <summary>The file of a stream of activations that goes into a part.</summary>
    public string Stream(string name, int part) => Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{name}-{part:D3}{StreamSuffix}"));

    /// <summary>The first part that is still to be made.</summary>
    /// <param name="streams">The streams that a part needs; one whose inputs are gone has to be made again, with all after it.</param>
    /// <param name="inputsEnd">Parts from this number on need no inputs.</param>
    public int FirstUnfinished(IReadOnlyList<string> streams, int inputsEnd)
    {
        var next = 0;
        while (Directory.Exists(Part(next)))
        {
            next++;
        }

        while (next > 0 && next < inputsEnd && !streams.All(stream => File.Exists(Stream(stream, next))))
        {
            next--;
        }

        return next;
    }

    /// <summary>Removes what an interrupted run has left of parts that are made again, and all streams but those that go into the first of them.</summary>
    public void Discard(IReadOnlyList<string> streams, int fromPart)
    {
        var needed = streams.Select(stream => Stream(stream, fromPart)).ToHashSet(StringComparer.Ordinal);
        foreach (var stream in Directory.EnumerateFiles(folder, $"*{StreamSuffix}*").Where(path => !needed.Contains(path)))
        {
            File.Delete(stream);
        }

        for (var number = fromPart; Directory.Exists(Part(number)); number++)
        {
            Directory.Delete(Part(number), recursive: true);
        }

        foreach (var leftover in Directory.EnumerateDirectories(folder, "*.tmp-*"))
        {
            Directory.Delete(leftover, recursive: true);
        }
    }

    /// <summary>Puts the finished parts together.</summary>
    /// <param name="write">Writes a folder, which does not exist yet.</param>
    public void Join(Action<string> write)
    {
        // Inside of this folder, so that nothing is left beside the output when the run is killed now.
        var artifact = Path.Combine(folder, ArtifactName);
        if (Directory.Exists(artifact))
        {
            Directory.Delete(artifact, recursive: true);
        }

        write(artifact);
        File.Move(Path.Combine(folder, IdentityName), Path.Combine(folder, JoinedName));
    }

    /// <summary>Moves what was put together to its place and deletes the job.</summary>
    public void Finish(string output)
    {
        var artifact = Path.Combine(folder, ArtifactName);
        if (Directory.Exists(artifact))
        {
            Directory.Move(artifact, Path.TrimEndingDirectorySeparator(Path.GetFullPath(output)));
        }

        // What tells the output from a stranger's goes last: a run that is killed here is finished by the next.
        Clear(folder, keepJoined: true);
        Abandon();
    }

    /// <summary>Deletes the job.</summary>
    public void Abandon()
    {
        Clear(folder);
        guard.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    /// <inheritdoc/>
    public void Dispose() => guard.Dispose();

    private static FileStream Lock(string folder)
    {
        try
        {
            return new FileStream(Path.Combine(folder, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException exception) when (Directory.Exists(folder) && exception is not DirectoryNotFoundException)
        {
            throw new NibbleException($"{folder}: another run works in this folder, or it cannot be written: {exception.Message}", exception);
        }
    }

    private static void Clear(string folder, bool keepJoined = false)
    {
        // The identity goes first: without it the rest is known to be rubbish.
        File.Delete(Path.Combine(folder, IdentityName));
        if (!keepJoined)
        {
            File.Delete(Path.Combine(folder, JoinedName));
        }

        foreach (var entry in new DirectoryInfo(folder).GetFileSystemInfos())
        {
            if (entry is DirectoryInfo directory)
            {
                directory.Delete(recursive: true);
            }
            else if (entry.Name is not (LockName or JoinedName))
            {
                entry.Delete();
            }
        }
    }

    private static void RequireSame(string path, IReadOnlyDictionary<string, string> identity)
    {
        Dictionary<string, string>? found;
        try
        {
            found = JsonSerializer.Deserialize<Dictionary<string, string>>(File.ReadAllText(path));
        }
        catch (JsonException exception)
        {
            throw new NibbleException($"{path} is not the description of a job: {exception.Message}; start over with --restart", exception);
        }

        var changed = identity.Where(item => found?.GetValueOrDefault(item.Key) != item.Value).Select(item => item.Key).ToList();
        if (changed.Count > 0)
        {
            throw new NibbleException(
                $"{Path.GetDirectoryName(path)} holds an interrupted run of another job: it differs in {string.Join(", ", changed)}. Repeat the command that began it to go on, or start over with --restart");
        }
    }
}
