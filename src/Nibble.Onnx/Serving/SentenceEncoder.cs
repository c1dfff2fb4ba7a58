using Nibble.Models;

namespace Nibble.Onnx.Serving;

/// <summary>Turns texts into embeddings with an exported encoder, in ONNX Runtime on the CPU.</summary>
/// <remarks>
/// Safe for concurrent calls: load one for the whole application. If it is disposed while calls run, they finish, and the last one frees the model. libtorch is
/// not needed.
/// </remarks>
public sealed class SentenceEncoder : IDisposable
{
    private readonly TextEngine engine;

    private SentenceEncoder(TextEngine engine) => this.engine = engine;

    /// <summary>The number of values per embedding.</summary>
    public int EmbeddingLength => engine.Width;

    /// <summary>The maximum number of tokens per text, special tokens included. Longer texts are cut.</summary>
    public int MaxLength => engine.MaxLength;

    /// <summary>Loads an embedding model and the tokenizer next to it, as <see cref="OnnxExporter"/> writes them.</summary>
    /// <param name="path">The ONNX file. Its tensor file, if any, must be next to it too.</param>
    /// <param name="options">The options. Default: null, all defaults.</param>
    /// <exception cref="NibbleException">
    /// The file or the tokenizer is missing or damaged, or the file holds another kind of model or was not exported by Nibble.
    /// </exception>
    /// <exception cref="NativeLibraryException">ONNX Runtime itself cannot be loaded.</exception>
    /// <exception cref="ArgumentException"><paramref name="path"/> is null or empty, or an option is out of its range.</exception>
    public static SentenceEncoder Open(string path, EncoderOptions? options = null) => new(TextEngine.Open(path, ModelTask.Embedding, options));

    /// <summary>The embedding of a text, pooled and, if the model says so, scaled to length 1.</summary>
    /// <param name="text">The text. May be empty.</param>
    /// <returns><see cref="EmbeddingLength"/> values.</returns>
    /// <exception cref="NibbleException">The tokenizer cannot spell the text, or ONNX Runtime fails.</exception>
    /// <exception cref="ObjectDisposedException">The encoder is disposed.</exception>
    public float[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return engine.Compute([text], CancellationToken.None)[0];
    }

    /// <summary>The embeddings of texts, computed in batches.</summary>
    /// <param name="texts">The texts, each of which may be empty.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    /// <returns>The embedding of each text, in the order of the texts.</returns>
    /// <exception cref="ArgumentException">A text is null.</exception>
    /// <exception cref="NibbleException">The tokenizer cannot spell a text, or ONNX Runtime fails.</exception>
    /// <exception cref="ObjectDisposedException">The encoder is disposed.</exception>
    public float[][] Encode(IReadOnlyList<string> texts, CancellationToken cancellation = default) => engine.Compute(texts, cancellation);

    /// <inheritdoc/>
    public void Dispose() => engine.Dispose();
}
