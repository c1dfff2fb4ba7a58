using System.Text.Json;
using Nibble.Formats;

namespace Nibble.Torch;

/// <summary>The unfinished work of a run, in a folder beside its output: what it is, and what it goes on from.</summary>
/// <remarks>The folder is locked while a run works in it. Everything in it appears whole under its final name or not at all.</remarks>
internal class OutputJob : IDisposable
{
    private const string LockName = "lock";
    private const string ArtifactName = "artifact";
    private const string IdentityName = "job.json";

    /// <summary>What the identity is called once the output is made.</summary>
    private const string JoinedName = "joined.json";

    private readonly FileStream guard;

    /// <summary>Begins a job, or goes on with the one that was interrupted.</summary>
    /// <param name="output">The folder that the run is to write.</param>
    /// <param name="identity">All that the result depends on, by name.</param>
    /// <param name="restart">Whether what an interrupted run has left is thrown away.</param>
    /// <exception cref="NibbleException">The folder holds another job, or a run works in it now.</exception>
    public OutputJob(string output, IReadOnlyDictionary<string, string> identity, bool restart)
    {
        Folder = FolderOf(output);
        Directory.CreateDirectory(Folder);
        guard = Lock(Folder);
        try
        {
            if (restart)
            {
                Clear();
            }

            var path = Path.Combine(Folder, IsJoined(output) ? JoinedName : IdentityName);
            if (File.Exists(path))
            {
                RequireSame(path, identity);
            }
            else
            {
                // Whatever stands here without an identity was left by a run that had barely begun, or was being deleted.
                Clear();
                AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream, new SortedDictionary<string, string>(identity.ToDictionary(), StringComparer.Ordinal)));
            }
        }
        catch
        {
            guard.Dispose();
            throw;
        }
    }

    /// <summary>Whether the run of an output has made it, so that an output that stands is its own.</summary>
    public static bool IsJoined(string output) => File.Exists(Path.Combine(FolderOf(output), JoinedName));

    /// <summary>Whether the output is made and only has to be moved to its place.</summary>
    public bool Joined => File.Exists(Path.Combine(Folder, JoinedName));

    /// <summary>Where the unfinished work is.</summary>
    protected string Folder { get; }

    /// <summary>The path of an entry of the folder.</summary>
    public string At(string name) => Path.Combine(Folder, name);

    /// <summary>Makes the output.</summary>
    /// <param name="write">Writes a folder, which does not exist yet.</param>
    public void Join(Action<string> write)
    {
        // Inside of this folder, so that nothing is left beside the output when the run is killed now.
        var artifact = At(ArtifactName);
        if (Directory.Exists(artifact))
        {
            Directory.Delete(artifact, recursive: true);
        }

        write(artifact);
        File.Move(At(IdentityName), At(JoinedName));
    }

    /// <summary>Moves the output to its place and deletes the job.</summary>
    public void Finish(string output)
    {
        var artifact = At(ArtifactName);
        if (Directory.Exists(artifact))
        {
            Directory.Move(artifact, Path.TrimEndingDirectorySeparator(Path.GetFullPath(output)));
        }

        // What tells the output from a stranger's goes last: a run that is killed here is finished by the next.
        Clear(keepJoined: true);
        Abandon();
    }

    /// <summary>Deletes the job.</summary>
    public void Abandon()
    {
        Clear();
        guard.Dispose();
        Directory.Delete(Folder, recursive: true);
    }

    /// <inheritdoc/>
    public void Dispose() => guard.Dispose();

    private static string FolderOf(string output) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(output)) + ".job";

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

    private void Clear(bool keepJoined = false)
    {
        // The identity goes first: without it the rest is known to be rubbish.
        File.Delete(At(IdentityName));
        if (!keepJoined)
        {
            File.Delete(At(JoinedName));
        }

        foreach (var entry in new DirectoryInfo(Folder).GetFileSystemInfos())
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
