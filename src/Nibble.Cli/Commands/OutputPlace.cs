using Nibble.Files;
using Nibble.Cli.Report;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary>The places that a command is asked to write to, each of them tried before the work begins.</summary>
/// <remarks>
/// One rule for all of them: what stands there is neither replaced nor deleted unless Nibble made it for the same purpose. Files and folders
/// must be new; a report may take the place of one that Nibble wrote; a folder of unfinished work is told by what it says of itself; caches
/// only ever gain files.
/// </remarks>
internal static class OutputPlace
{
    /// <summary>Tries a file that must be new.</summary>
    /// <param name="path">The file.</param>
    /// <param name="makesFolder">Whether the command makes the folder that it belongs into.</param>
    /// <exception cref="NibbleException">Something stands there, or nothing can be written there.</exception>
    public static void RequireNewFile(string path, bool makesFolder = false)
    {
        RequireAbsent(path);
        if (!makesFolder)
        {
            RequireFolderOf(path);
        }

        Try(path);
    }

    /// <summary>Tries a folder that must be new; those above it are made where they are missing.</summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="NibbleException">Something stands there, or nothing can be written there.</exception>
    public static void RequireNewFolder(string path)
    {
        RequireAbsent(path);
        Try(path);
    }

    /// <summary>Tries a folder that must be new, or that an interrupted run has made without cleaning up; and the place of its unfinished work.</summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="NibbleException">Something stands at one of the places, or nothing can be written there.</exception>
    public static void RequireNewOrUnfinished(string path)
    {
        if (path.Length == 0 || !PostTrainingQuantizer.IsUnfinished(path))
        {
            RequireNewFolder(path);
        }

        PostTrainingQuantizer.RequireJobPlace(path);
    }

    /// <summary>Tries an HTML report, which may replace an older one.</summary>
    /// <param name="path">The report; null where none is asked for.</param>
    /// <param name="output">What else the command writes; a report may go into a folder that it makes.</param>
    /// <exception cref="NibbleException">Something else stands there, or nothing can be written there.</exception>
    public static void RequireReport(string? path, string? output = null)
    {
        if (path is null)
        {
            return;
        }

        if (path.Length == 0)
        {
            throw new NibbleException("the report's name is empty; give a file");
        }

        var (full, made) = (Path.GetFullPath(path), output is null ? null : Path.TrimEndingDirectorySeparator(Path.GetFullPath(output)));
        if (full == made)
        {
            throw new NibbleException($"{path}: the report and the output have the same name; give each its own");
        }

        HtmlPage.RequireReplaceable(path);
        if (Path.GetDirectoryName(full) != made)
        {
            RequireFolderOf(path);
            Try(path);
        }
    }

    /// <summary>Tries a folder that keeps what other runs can use; it is made where it is missing.</summary>
    /// <param name="folder">The folder; null where none is asked for.</param>
    /// <param name="option">The option that names it.</param>
    /// <exception cref="NibbleException">It is no folder, or nothing can be written there.</exception>
    public static void RequireCache(string? folder, string option)
    {
        if (folder is null)
        {
            return;
        }

        if (folder.Length == 0 || File.Exists(folder))
        {
            throw new NibbleException($"{option} is '{folder}', expected a folder, which is made where it is missing");
        }

        Try(Path.Combine(folder, "entry"), $"; give another folder with {option}");
    }

    private static void RequireAbsent(string path)
    {
        if (path.Length == 0)
        {
            throw new NibbleException("the output's name is empty; give one with -o");
        }

        if (AtomicFile.Exists(path))
        {
            var kind = Directory.Exists(path) ? "folder" : "file";
            throw new NibbleException($"{path}: the output {kind} exists already; give another with -o, or delete it first");
        }
    }

    private static void RequireFolderOf(string path)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        if (!Directory.Exists(folder))
        {
            throw new NibbleException($"{path}: there is no folder {folder}; make it first, or give another name");
        }
    }

    private static void Try(string path, string remedy = "; give another name, or make the folder writable")
    {
        try
        {
            AtomicFile.Try(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new NibbleException($"{path} cannot be written: {exception.Message.TrimEnd('.')}{remedy}", exception);
        }
    }
}
