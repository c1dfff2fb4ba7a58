using Nibble.Files;

namespace Nibble.Torch;

/// <summary>The unfinished work of a run, in a folder next to its output: what the job is, and what it can resume from.</summary>
/// <remarks>
/// The folder is locked while a run works in it. Every file in it appears complete under its final name or not at all. The folder never exists without its
/// identity file, which distinguishes it from a folder of the user's. Nothing in a user's folder is touched, and only entries that the job owns are deleted.
/// </remarks>
internal class OutputJob : IDisposable
{
    private const string LockName = "lock";

    /// <summary>The entry of the folder that becomes the output.</summary>
    public const string ArtifactName = "artifact";

    /// <summary>The remedy in messages about a damaged file in the folder.</summary>
    public const string Remedy = $"the work cannot be resumed from it: {StartOver}";

    /// <summary>The end of messages whose remedy is to delete the unfinished work. Programs add how to do that.</summary>
    public const string StartOver = "start over";

    private readonly FileStream guard;
    private JobIdentity identity;

    /// <summary>Starts a job, or resumes an interrupted one.</summary>
    /// <param name="output">The folder that the run writes.</param>
    /// <param name="identity">Everything the result depends on, by name.</param>
    /// <param name="restart">Whether to delete the unfinished work of an interrupted run.</param>
    /// <exception cref="NibbleException">The folder holds another job, does not belong to a job, or is in use by another run.</exception>
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
            // From here on, no other run can change it.
            var found = RequireOwn(Folder);
            if (restart || found is null or { State: JobState.Cleared })
            {
                // After the first deletion, what is left must not be mistaken for finished work.
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

    /// <summary>Whether the job of an output has completed it, so that an existing output folder is the job's own.</summary>
    public static bool IsJoined(string output) => JobIdentity.Find(FolderOf(output)) is { State: JobState.Joined };

    /// <summary>Rejects an output whose job folder exists and does not belong to Nibble.</summary>
    /// <exception cref="NibbleException">The job folder does not belong to Nibble.</exception>
    public static void RequirePlace(string output)
    {
        var folder = FolderOf(output);
        if (AtomicFile.Exists(folder))
        {
            RequireOwn(folder);
        }
    }

    /// <summary>Whether the output is complete and only has to be moved to its final place.</summary>
    public bool Joined => identity.State == JobState.Joined;

    /// <summary>The folder of the unfinished work.</summary>
    protected string Folder { get; }

    /// <summary>The path of an entry of the folder.</summary>
    public string At(string name) => Path.Combine(Folder, name);

    /// <summary>Creates the output.</summary>
    /// <param name="write">Writes a folder that does not exist yet.</param>
    public void Join(Action<string> write)
    {
        // Inside the job's folder, so that nothing is left next to the output if the run is killed now.
        var artifact = At(ArtifactName);
        if (Directory.Exists(artifact))
        {
            Directory.Delete(artifact, recursive: true);
        }

        write(artifact);
        Become(JobState.Joined);
    }

    /// <summary>Moves the output to its final place and deletes the job.</summary>
    public void Finish(string output)
    {
        var artifact = At(ArtifactName);
        if (Directory.Exists(artifact))
        {
            Directory.Move(artifact, Path.TrimEndingDirectorySeparator(Path.GetFullPath(output)));
        }

        // The identity is deleted last: if the run is killed here, the next run finishes the job.
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

    /// <summary>Whether an entry of the folder is one that the job writes, under its final or a temporary name.</summary>
    protected virtual bool Owns(string name) => IsEntry(name, ArtifactName) || AtomicFile.IsTemporaryName(name, JobIdentity.FileName);

    /// <summary>Whether a name is that of an entry or one of its temporary names.</summary>
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
            throw new NibbleException($"{folder}: another run is using this folder, or it is not writable: {exception.Message}", exception);
        }
    }

    /// <summary>The identity of a job's folder, or null if only the lock is left of a job that was being deleted.</summary>
    /// <exception cref="NibbleException">The folder does not belong to a job.</exception>
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
            $"{folder} is the folder for unfinished work, but it does not belong to Nibble: it has no valid {JobIdentity.FileName}. "
            + "Nothing in it was changed. Move the folder, or choose another name for the output");
    }

    /// <summary>Creates the folder together with its identity, unless another run does so at the same time.</summary>
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

    /// <summary>Deletes everything the job has written except its identity and its lock.</summary>
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

    /// <summary>Deletes the identity, the lock and the folder. The folder stays if it holds other files.</summary>
    private void Leave()
    {
        File.Delete(At(JobIdentity.FileName));
        if (OperatingSystem.IsWindows())
        {
            // Windows cannot delete an open file.
            guard.Dispose();
            File.Delete(At(LockName));
        }
        else
        {
            // Deleted while it is held, so that the lock of a run that starts now is not deleted.
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
                + $"Rerun that job to resume it, or {StartOver}");
        }
    }
}
