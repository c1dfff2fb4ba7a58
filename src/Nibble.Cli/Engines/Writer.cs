using Nibble.Formats.HuggingFace;
using Nibble.Onnx;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;

namespace Nibble.Cli.Engines;

/// <summary>A model that generates text in any engine.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Engine">The engine.</param>
/// <param name="Predictor">Predicts tokens.</param>
/// <param name="Coder">Converts text to tokens and back.</param>
internal sealed record Writer(string Model, string Engine, ITokenPredictor Predictor, ITextCoder Coder) : IDisposable
{
    // Prompt tokens per batch in llama.cpp. More takes memory and is hardly faster on a CPU.
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
    /// <param name="room">Most tokens that the prompt and its continuation take.</param>
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
                $"{folder} has no tokenizer, which {Path.GetFileName(file.Path)} needs to read and write text; name its folder with --tokenizer");
        }

        var text = TextTokenizer.Load(folder);
        var onnx = new OnnxRuntimeEngine(file.Path, threads);

        // The file's own special tokens, because the tokenizer may not define them.
        var begins = OnnxMetadata.Number(onnx.Metadata, OnnxMetadata.BeginsText) ?? text.StartId;
        return new Writer(file.Name, file.Engine, onnx, new TokenizerCoder(text, begins, OnnxMetadata.Numbers(onnx.Metadata, OnnxMetadata.EndsText)
            ?? text.StopIds));
    }

    /// <summary>Continues a prompt.</summary>
    /// <param name="prompt">The text to continue.</param>
    /// <param name="options">How to sample.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <returns>A piece of text per token, empty if the token completes no character, and finally the rest.</returns>
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
