using System.CommandLine;
using Nibble.Samples.Storyteller;

var root = new RootCommand("Writes the stories that Nibble's built-in model is trained on.")
{
    WriteCommand.Create(),
    TokenizeCommand.Create(),
    TrainCommand.Create(),
};
return await root.Parse(args).InvokeAsync();
