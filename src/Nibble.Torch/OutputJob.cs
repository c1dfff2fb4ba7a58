using Nibble.Files;

namespace Nibble.Torch;

/// <summary>The unfinished work of a run, in a folder beside its output: what it is, and what it goes on from.</summary>
/// <remarks>
/// The folder is locked while a run works in it. Everything in it appears whole under its final name or not at all, and it is never there without the
/// identity that tells it from a folder of the user's, in which nothing is touched. Of what lies in it, only what a job calls its own is ever deleted.
/// </remarks>
internal class OutputJob : IDisposable
{
    private const string LockName = "lock";

    /// <summary>The entry of the folder that becomes the output.</summary>
    public const string ArtifactName = "artifact";

    /// <summary>What to do where a file of the folder is damaged, for messages.</summary>
    public const string Remedy = $"the work cannot be resumed from it: {StartOver}";

    /// <summary>How messages end whose remedy is to throw the unfinished work away: programs add how that is asked for.</summary>
    public const string StartOver = "start over";

    private readonly FileStream guard;
    private JobIdentity identity;

    /// <summary>Begins a job, or goes on with the one that was interrupted.</summary>
    /// <param name="output">The folder that the run is to write.</param>
    /// <param name="identity">All that the result depends on, by name.</param>
    /// <param name="restart">Whether what an interrupted run has left is thrown away.</param>
    /// <exception cref="NibbleException">The folder holds another job or is no job's, or a run works in it now.</exception>
    public OutputJob(string output, IReadOnlyDictionary<string, string> identity, bool restart)
    {
        Folder = FolderOf(output);
        this.identity = new JobIdentity(JobState.Unfinished, identity);
        if (!AtomicFile.Exists(Folder))
        {
            Begin();
        }

        RequireOwn(Folder);
        guard = Lock(Folder);
        try
        {
            // Only now nobody else changes it.
            var found = RequireOwn(Folder);
            if (restart || found is null or { State: JobState.Cleared })
            {
                // From the first deletion on, what is left must not be taken for finished work.
                (this.identity with { State = JobState.Cleared }).Write(Folder);
                Clear();
                this.identity.Write(Folder);
            }
            else
            {
                RequireSame(found);
                this.identity = found;
            }
        }
        catch
        {
            guard.Dispose();
            throw;
        }
    }

    /// <summary>Whether the run of an output has made it, so that an output that stands is its own.</summary>
    public static bool IsJoined(string output) => JobIdentity.Find(FolderOf(output)) is { State: JobState.Joined };

    /// <summary>Refuses an output beside which the folder of the job is somebody else's.</summary>
    /// <exception cref="NibbleException">It is.</exception>
    public static void RequirePlace(string output)
    {
        var folder = FolderOf(output);
        if (AtomicFile.Exists(folder))
        {
            RequireOwn(folder);
        }
    }

    /// <summary>Whether the output is made and only has to be moved to its place.</summary>
    public bool Joined => identity.State == JobState.Joined;

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
        Become(JobState.Joined);
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
        Clear();
        Leave();
    }

    /// <summary>Deletes the job.</summary>
    public void Abandon()
    {
        Become(JobState.Cleared);
        Clear();
        Leave();
    }

    /// <inheritdoc/>
    public void Dispose() => guard.Dispose();

    /// <summary>Whether an entry of the folder is one that the job writes, whole or under a temporary name.</summary>
    protected virtual bool Owns(string name) => IsEntry(name, ArtifactName) || AtomicFile.IsTemporaryName(name, JobIdentity.FileName);

    /// <summary>Whether a name is that of an entry, or a temporary one of it.</summary>
    protected static bool IsEntry(string name, string entry) => name == entry || AtomicFile.IsTemporaryName(name, entry);

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

    /// <summary>The identity of a job's folder; null where only the lock is left of a job that was being deleted.</summary>
    /// <exception cref="NibbleException">The folder is no job's.</exception>
    private static JobIdentity? RequireOwn(string folder)
    {
        if (JobIdentity.Find(folder) is { } found)
        {
            return found;
        }

        if (Directory.Exists(folder) && new DirectoryInfo(folder).EnumerateFileSystemInfos().All(entry => entry is FileInfo { Name: LockName, Length: 0 }))
        {
            return null;
        }

        throw new NibbleException(
            $"{folder} is where unfinished work would be kept, but it is not Nibble's: it holds no valid {JobIdentity.FileName}. "
            + "Nothing in it was touched; move it away, or give the output another name");
    }

    /// <summary>Makes the folder together with its identity, unless another run does so at this moment.</summary>
    private void Begin()
    {
        var made = AtomicFile.TemporaryName(Folder);
        Directory.CreateDirectory(made);
        identity.Write(made);
        try
        {
            Directory.Move(made, Folder);
        }
        catch (IOException) when (AtomicFile.Exists(Folder))
        {
            Directory.Delete(made, recursive: true);
        }
    }

    private void Become(JobState state)
    {
        identity = identity with { State = state };
        identity.Write(Folder);
    }

    /// <summary>Deletes what the job has written, but for its identity and its lock.</summary>
    private void Clear()
    {
        foreach (var entry in new DirectoryInfo(Folder).GetFileSystemInfos().Where(entry => Owns(entry.Name)))
        {
            if (entry is DirectoryInfo directory && entry.LinkTarget is null)
            {
                directory.Delete(recursive: true);
            }
            else
            {
                entry.Delete();
            }
        }
    }

    /// <summary>Deletes the identity, the lock and the folder, which stays where somebody else has put something into it.</summary>
    private void Leave()
    {
        File.Delete(At(JobIdentity.FileName));
        if (OperatingSystem.IsWindows())
        {
            // An open file cannot be deleted there.
            guard.Dispose();
            File.Delete(At(LockName));
        }
        else
        {
            // While it is held, so that what is deleted is not the lock of a run that begins now.
            File.Delete(At(LockName));
            guard.Dispose();
        }

        try
        {
            Directory.Delete(Folder);
        }
        catch (IOException) when (Directory.Exists(Folder))
        {
        }
    }

    private void RequireSame(JobIdentity found)
    {
        var changed = identity.Values.Where(item => found.Values.GetValueOrDefault(item.Key) != item.Value).Select(item => item.Key).ToList();
        if (changed.Count > 0)
        {
            throw new NibbleException(
                $"{Folder} holds an interrupted run of another job: it differs in {string.Join(", ", changed)}. "
                + $"Repeat what began it to resume it, or {StartOver}");
        }
    }
}
