using System.CommandLine;
using Nibble.Benchmarks.EncoderTable;

var root = new RootCommand("What quantization costs a pretrained encoder, after training and in training, over seeds.")
{
    TableCommand.Create("classification", "A classifier: fine-tuned first, then quantized on both runs.", isEmbedding: false),
    TableCommand.Create("embedding", "An embedding model: quantized on both runs, without labels.", isEmbedding: true),
};
return await root.Parse(args).InvokeAsync();
