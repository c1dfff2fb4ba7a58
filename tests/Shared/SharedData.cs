namespace Nibble.Tests.Shared;

/// <summary>Finds the real models and texts that stand beside the project on the team's machines.</summary>
internal static class SharedData
{
    /// <summary>The path of <paramref name="relative"/> under <c>../shared/data</c>; skips the running test where it is absent.</summary>
    public static string Require(string relative)
    {
        if (Repository.Root is { } root)
        {
            var path = Path.GetFullPath(Path.Combine(root, "..", "shared", "data", relative));
            if (Path.Exists(path))
            {
                return path;
            }
        }

        Assert.Skip($"needs ../shared/data/{relative}, which this machine does not have");
        return string.Empty;
    }
}
