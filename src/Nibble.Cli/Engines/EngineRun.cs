namespace Nibble.Cli.Engines;

/// <summary>Opens a model where it runs: in the simulation or in an engine.</summary>
internal static class EngineRun
{
    /// <summary>The engine that runs a model.</summary>
    /// <param name="path">The folder of a model or an artifact, or an exported file.</param>
    /// <param name="asked">The engine that the user names. Null for the file's own, or the simulation for a folder.</param>
    public static string Of(string path, string? asked) => asked ?? ExportedFile.Find(path)?.Engine ?? EngineOptions.Nibble;

    /// <summary>Opens a model. For another engine than its own, it is imported or exported first.</summary>
    /// <param name="host">Stops an export between tensors.</param>
    /// <param name="path">The folder of a model or an artifact, or an exported file.</param>
    /// <param name="asked">As in <see cref="Of"/>.</param>
    /// <param name="temporary">A folder for temporary files.</param>
    /// <param name="threads">Threads of libtorch; null for all cores.</param>
    /// <param name="simulate">Opens a folder in the simulation.</param>
    /// <param name="run">Opens a file in its engine.</param>
    public static T Open<T>(
        CommandHost host, string path, string? asked, string temporary, int? threads, Func<string, T> simulate, Func<ExportedFile, T> run)
    {
        if (ExportedFile.Find(path) is { } file)
        {
            if (asked is null || asked == file.Engine)
            {
                return run(file);
            }

            path = Path.Combine(temporary, file.Name);
            FileImport.Run(file.Path, path);
        }

        CommandHost.StartTorch(threads);
        return asked is null or EngineOptions.Nibble ? simulate(path) : run(EngineFile.Write(path, asked, temporary, type: null, host.Cancellation).File);
    }
}
