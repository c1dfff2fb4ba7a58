using Nibble.Formats.HuggingFace;
using Nibble.Onnx;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;

namespace Nibble.Cli.Engines;

/// <summary>A model that writes text, in whatever engine.</summary>
/// <param name="Model">What it is called.</param>
/// <param name="Engine">The engine.</param>
/// <param name="Predictor">Predicts tokens.</param>
/// <param name="Coder">Turns text into tokens and back.</param>
internal sealed record Writer(string Model, string Engine, ITokenPredictor Predictor, ITextCoder Coder) : IDisposable
{
    // What llama.cpp computes of a prompt at once; more takes memory, and is hardly faster on a processor.
    private const int PromptBatch = 512;

    private LoadedModel? Source { get; init; }

    /// <summary>Loads a model or an artifact into Nibble's simulation.</summary>
    public static Writer Simulated(string folder)
    {
        var loaded = LoadedModel.Open(folder);
        var coder = new TokenizerCoder(loaded.Tokenizer, loaded.Tokenizer.StartId, loaded.Tokenizer.StopIds);
        return new Writer(loaded.Name, EngineOptions.Nibble, new SimulatedPredictor(loaded.Decoder), coder) { Source = loaded };
    }

    /// <summary>Loads an exported file into its engine.</summary>
    /// <param name="file">The file.</param>
    /// <param name="libraries">The folder of llama.cpp's libraries, if the user names one.</param>
    /// <param name="tokenizer">The folder of the tokenizer of an ONNX file, if the user names one.</param>
    /// <param name="room">Tokens that the prompt and what follows take at most.</param>
    /// <param name="threads">Threads of the engine.</param>
    /// <exception cref="NibbleException">The engine is missing or refuses the file, or there is no tokenizer.</exception>
    public static Writer Open(ExportedFile file, string? libraries, string? tokenizer, int room, int threads)
    {
        if (file.Engine == LlamaCppEngine.EngineName)
        {
            var engine = LlamaCppEngine.Start(LlamaCppLibraries.Find(libraries), file.Path, room, threads, PromptBatch);
            return new Writer(file.Name, file.Engine, engine, engine);
        }

        var folder = tokenizer ?? file.Folder;
        if (TextTokenizer.FilesIn(folder).Count == 0)
        {
            throw new NibbleException(
                $"{folder} holds no tokenizer, which {Path.GetFileName(file.Path)} needs to read and write text; name its folder by --tokenizer");
        }

        var text = TextTokenizer.Load(folder);
        var onnx = new OnnxRuntimeEngine(file.Path, threads);

        // The file's own marks, since a tokenizer alone need not know them.
        var begins = OnnxMetadata.Number(onnx.Metadata, OnnxMetadata.BeginsText) ?? text.StartId;
        return new Writer(file.Name, file.Engine, onnx, new TokenizerCoder(text, begins, OnnxMetadata.Numbers(onnx.Metadata, OnnxMetadata.EndsText)
            ?? text.StopIds));
    }

    /// <summary>Continues a prompt.</summary>
    /// <param name="prompt">The text to continue.</param>
    /// <param name="options">How to sample.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <returns>A piece of text for each token, empty where it becomes text only with the next, and at last the rest.</returns>
    public IEnumerable<string> Continue(string prompt, GenerationOptions options, CancellationToken cancellation) =>
        TextGenerator.Tokens(Predictor, Coder.Encode(prompt), Coder.Ends, options, cancellation).Select(Coder.Append).Concat(Rest());

    public void Dispose()
    {
        Predictor.Dispose();
        Source?.Dispose();
    }

    private IEnumerable<string> Rest()
    {
        yield return Coder.Rest();
    }
}
