using System.CommandLine;

namespace Nibble.Samples.Storyteller;

/// <summary>What the commands have in common.</summary>
internal static class StoryOptions
{
    public static Option<FileInfo[]> Data() => new("--data")
    {
        Description = "text files of stories, with a line " + Stories.Separator + " between two stories",
        Required = true,
        AllowMultipleArgumentsPerToken = true,
    };
}
