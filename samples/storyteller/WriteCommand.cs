using System.CommandLine;
using Nibble.Torch.Models;
using Nibble.Torch.Native;

namespace Nibble.Samples.Storyteller;

/// <summary><c>write</c>: lets a model write stories.</summary>
internal static class WriteCommand
{
    public static Command Create()
    {
        var model = new Argument<DirectoryInfo>("MODEL") { Description = "the folder of the model" };
        var count = new Option<int>("--count") { Description = "how many stories to write", DefaultValueFactory = _ => 400 };
        var seed = new Option<int>("--seed") { Description = "the same seed gives the same stories", DefaultValueFactory = _ => 1 };
        var tokens = new Option<int>("--tokens") { Description = "the tokens of a story at most; longer stories are dropped", DefaultValueFactory = _ => 256 };
        var output = new Option<FileInfo>("-o", "--output") { Description = "the text file to write", Required = true };
        var command = new Command("write", "Let a model write stories, each followed by a line " + Stories.Separator) { model, count, seed, tokens, output };
        command.SetAction(parsed => Failures.Catch(() =>
        {
            // The sums of one thread are the same on every machine of a kind, whatever its cores, and so are the stories.
            TorchRuntime.UseThreads(1);
            using var opened = LoadedModel.Open(parsed.GetRequiredValue(model).FullName);
            var wanted = parsed.GetValue(count);
            var stories = new StoryGenerator(opened, parsed.GetValue(seed), parsed.GetValue(tokens))
                .Write(wanted, done => Console.Error.WriteLine($"{done} of {wanted} stories"));
            TextFile.Write(parsed.GetRequiredValue(output).FullName, Stories.Join(stories));
        }));
        return command;
    }
}
