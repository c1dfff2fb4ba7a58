// Quantizes a language model to 4 bits with Nibble, writes it as a GGUF file and generates text from that with LLamaSharp:
//     dotnet run -c Release --project samples/llamasharp [MODEL TEXT_FILE OUTPUT PROMPT]
// MODEL is a Hugging Face folder, TEXT_FILE has text to calibrate on, OUTPUT is the folder to write. Without arguments, it takes the built-in model
// of this repository, from whose root it then has to run, and writes a temporary folder.
using LLama;
using LLama.Common;
using LLama.Native;
using LLama.Sampling;
using Nibble;
using Nibble.Export;
using Nibble.Recipes;

string[] inputs = args.Length > 0 ? args :
[
    "samples/storyteller/model", "samples/storyteller/data/train.txt",
    Path.Combine(Directory.CreateTempSubdirectory("nibble-").FullName, "stories"), "Once upon a time",
];
if (inputs is not [var model, var textFile, var output, var prompt])
{
    Console.Error.WriteLine("Usage: LlamaSharpSample [MODEL TEXT_FILE OUTPUT PROMPT]");
    return 2;
}

try
{
    var options = new PtqOptions { DataFiles = [textFile], Target = RecipeTarget.Parse("gguf:q4_0") };
    Quantize.Ptq(model, RecipePresets.Parse("w4a16-g32-gptq"), output, options);
    var exported = GgufExporter.Run(output, output + ".gguf", type: null);
    Console.Error.WriteLine($"{output}.gguf: {exported.Bytes} bytes");
}
catch (NibbleException exception)
{
    Console.Error.WriteLine(exception.Message);
    return 3;
}

// llama.cpp logs all that it does.
NativeLibraryConfig.All.WithLogCallback((_, _) => { });
var parameters = new ModelParams(output + ".gguf") { ContextSize = 512 };
using var weights = await LLamaWeights.LoadFromFileAsync(parameters);
var executor = new StatelessExecutor(weights, parameters);
var greedy = new InferenceParams { MaxTokens = 60, SamplingPipeline = new GreedySamplingPipeline() };
Console.Write(prompt);
await foreach (var piece in executor.InferAsync(prompt, greedy))
{
    Console.Write(piece);
}

Console.WriteLine();
return 0;
