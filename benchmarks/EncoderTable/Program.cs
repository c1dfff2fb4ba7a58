using System.CommandLine;
using Nibble.Benchmarks.EncoderTable;

var root = new RootCommand("What quantization costs a small BERT on SST-2, after training and in training.")
{
    TrainCommand.Create(),
    TableCommand.Create(),
    ArtifactsCommand.Create(),
};
return await root.Parse(args).InvokeAsync();
