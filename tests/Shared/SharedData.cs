namespace Nibble.Tests.Shared;

/// <summary>Finds the real models and texts that stand beside the project on the team's machines.</summary>
internal static class SharedData
{
    /// <summary>The path of <paramref name="relative"/> under <c>../shared/data</c>; skips the running test where it is absent.</summary>
    public static string Require(string relative)
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (!File.Exists(Path.Combine(folder.FullName, "Nibble.slnx")))
            {
                continue;
            }

            var path = Path.GetFullPath(Path.Combine(folder.FullName, "..", "shared", "data", relative));
            if (File.Exists(path) || Directory.Exists(path))
            {
                return path;
            }

            break;
        }

        Assert.Skip($"needs ../shared/data/{relative}, which this machine does not have");
        return string.Empty;
    }
}
