using System.CommandLine;

namespace Nibble.Samples.Storyteller;

/// <summary><c>tokenizer</c>: trains the tokenizer on stories.</summary>
internal static class TokenizeCommand
{
    public static Command Create()
    {
        var data = StoryOptions.Data();
        var vocabulary = new Option<int>("--vocabulary") { Description = "how many tokens, special tokens included", DefaultValueFactory = _ => 2048 };
        var output = new Option<DirectoryInfo>("-o", "--output") { Description = "the folder for tokenizer.json", Required = true };
        var command = new Command("tokenizer", "Train a byte-level BPE tokenizer") { data, vocabulary, output };
        command.SetAction(parsed => Failures.Catch(() =>
        {
            var trained = BytePairTrainer.Train(Stories.Read(parsed.GetRequiredValue(data)), parsed.GetValue(vocabulary));
            TextFile.Write(Path.Combine(parsed.GetRequiredValue(output).FullName, "tokenizer.json"), trained.ToJson());
        }));
        return command;
    }
}
