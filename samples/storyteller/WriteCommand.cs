using System.CommandLine;

namespace Nibble.Samples.Storyteller;

/// <summary><c>write</c>: puts generated stories into a text file.</summary>
internal static class WriteCommand
{
    public static Command Create()
    {
        var stories = new Option<int>("--stories") { Description = "how many stories to write", DefaultValueFactory = _ => 1000 };
        var seed = new Option<int>("--seed") { Description = "the same seed gives the same stories", DefaultValueFactory = _ => 1 };
        var output = new Option<FileInfo>("-o", "--output") { Description = "the text file to write", Required = true };
        var command = new Command("write", "Write stories, each followed by a line " + StoryWriter.Separator) { stories, seed, output };
        command.SetAction(parsed => TextFile.Write(
            parsed.GetRequiredValue(output).FullName,
            new StoryWriter(parsed.GetValue(seed)).WriteMany(parsed.GetValue(stories))));
        return command;
    }
}
