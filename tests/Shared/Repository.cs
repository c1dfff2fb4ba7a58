namespace Nibble.Tests.Shared;

/// <summary>The folder that the tests were built in.</summary>
internal static class Repository
{
    /// <summary>The path of the folder with the solution; null if the tests run elsewhere.</summary>
    public static string? Root
    {
        get
        {
            var folder = new DirectoryInfo(AppContext.BaseDirectory);
            while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Nibble.slnx")))
            {
                folder = folder.Parent;
            }

            return folder?.FullName;
        }
    }

    /// <summary>The path of a file or folder of the repository.</summary>
    /// <exception cref="InvalidOperationException">The tests run elsewhere.</exception>
    public static string At(params string[] parts) =>
        Path.Combine([Root ?? throw new InvalidOperationException($"There is no Nibble.slnx above {AppContext.BaseDirectory}."), .. parts]);
}
