using Nibble.Files;
using Nibble.Cli.Report;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary>Checks the places that a command writes to, before the work begins.</summary>
/// <remarks>
/// The same rule applies to all: nothing that exists is replaced or deleted unless Nibble made it for the same purpose. Files and folders
/// must be new. A report may replace one that Nibble wrote. A folder of unfinished work is recognized by its contents. Files are only added
/// to caches.
/// </remarks>
internal static class OutputPlace
{
    /// <summary>Checks a file that must be new.</summary>
    /// <param name="path">The file.</param>
    /// <param name="makesFolder">Whether the command creates the folder of the file.</param>
    /// <exception cref="NibbleException">It exists already, or cannot be written.</exception>
    public static void RequireNewFile(string path, bool makesFolder = false)
    {
        RequireAbsent(path);
        if (!makesFolder)
        {
            RequireFolderOf(path);
        }

        Try(path);
    }

    /// <summary>Checks a folder that must be new. Missing parent folders are created.</summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="NibbleException">It exists already, or cannot be written.</exception>
    public static void RequireNewFolder(string path)
    {
        RequireAbsent(path);
        Try(path);
    }

    /// <summary>Checks a folder that must be new or left by an interrupted run, and the place of its unfinished work.</summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="NibbleException">One of the places is occupied, or cannot be written.</exception>
    public static void RequireNewOrUnfinished(string path)
    {
        if (path.Length == 0 || !PostTrainingQuantizer.IsUnfinished(path))
        {
            RequireNewFolder(path);
        }

        PostTrainingQuantizer.RequireJobPlace(path);
    }

    /// <summary>Checks an HTML report, which may replace an older one.</summary>
    /// <param name="path">The report; null for none.</param>
    /// <param name="output">The command's other output. The report may go into a folder that the command creates.</param>
    /// <exception cref="NibbleException">The place is occupied by something else, or cannot be written.</exception>
    public static void RequireReport(string? path, string? output = null)
    {
        if (path is null)
        {
            return;
        }

        if (path.Length == 0)
        {
            throw new NibbleException("the report's name is empty; give a file name");
        }

        var (full, made) = (Path.GetFullPath(path), output is null ? null : Path.TrimEndingDirectorySeparator(Path.GetFullPath(output)));
        if (full == made)
        {
            throw new NibbleException($"{path}: the report and the output have the same name; give them different names");
        }

        HtmlPage.RequireReplaceable(path);
        if (Path.GetDirectoryName(full) != made)
        {
            RequireFolderOf(path);
            Try(path);
        }
    }

    /// <summary>Checks a cache folder that other runs can share. It is created if it is missing.</summary>
    /// <param name="folder">The folder; null for none.</param>
    /// <param name="option">The option that names it.</param>
    /// <exception cref="NibbleException">It is not a folder, or cannot be written.</exception>
    public static void RequireCache(string? folder, string option)
    {
        if (folder is null)
        {
            return;
        }

        if (folder.Length == 0 || File.Exists(folder))
        {
            throw new NibbleException($"{option} is '{folder}', expected a folder; a missing one is created");
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
            throw new NibbleException($"{path}: the output {kind} exists already; give another name with -o, or delete it first");
        }
    }

    private static void RequireFolderOf(string path)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        if (!Directory.Exists(folder))
        {
            throw new NibbleException($"{path}: there is no folder {folder}; create it first, or give another name");
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
