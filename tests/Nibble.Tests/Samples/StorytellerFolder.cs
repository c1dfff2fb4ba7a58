namespace Nibble.Tests.Samples;

internal static class StorytellerFolder
{
    /// <summary>The path of a committed file of samples/storyteller.</summary>
    public static string Find(string relative)
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Nibble.slnx")))
        {
            folder = folder.Parent;
        }

        Assert.NotNull(folder);
        return Path.Combine(folder.FullName, "samples", "storyteller", relative);
    }
}
