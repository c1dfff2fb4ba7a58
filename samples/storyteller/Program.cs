using System.CommandLine;
using Nibble.Samples.Storyteller;

var root = new RootCommand("Trains Nibble's built-in model on stories, and lets it write stories.")
{
    TokenizeCommand.Create(),
    TrainCommand.Create(),
    WriteCommand.Create(),
};
return await root.Parse(args).InvokeAsync();
