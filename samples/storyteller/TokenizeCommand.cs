using System.CommandLine;

namespace Nibble.Samples.Storyteller;

/// <summary><c>tokenizer</c>: trains the tokenizer on a text of stories.</summary>
internal static class TokenizeCommand
{
    public static Command Create()
    {
        var text = new Option<FileInfo>("--text") { Description = "stories as the write command puts them", Required = true };
        var vocabulary = new Option<int>("--vocabulary") { Description = "how many tokens, special tokens included", DefaultValueFactory = _ => 1024 };
        var output = new Option<DirectoryInfo>("-o", "--output") { Description = "the folder for tokenizer.json", Required = true };
        var command = new Command("tokenizer", "Train a byte-level BPE tokenizer") { text, vocabulary, output };
        command.SetAction(parsed =>
        {
            var stories = File.ReadAllText(parsed.GetRequiredValue(text).FullName)
                .Split(StoryWriter.Separator, StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            var trained = BytePairTrainer.Train(stories, parsed.GetValue(vocabulary));
            TextFile.Write(Path.Combine(parsed.GetRequiredValue(output).FullName, "tokenizer.json"), trained.ToJson());
        });
        return command;
    }
}
