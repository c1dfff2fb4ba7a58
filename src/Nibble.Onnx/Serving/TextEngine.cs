using Microsoft.Extensions.Logging;
using Nibble.Formats.HuggingFace;
using Nibble.Models;
using Nibble.Onnx.Engine;

namespace Nibble.Onnx.Serving;

/// <summary>An exported encoder with its tokenizer: computes the values of texts, in batches of similar length.</summary>
/// <remarks>Safe for concurrent calls.</remarks>
internal sealed class TextEngine : IDisposable
{
    private const int LeastLength = 3;

    private readonly OnnxRuntimeEncoder encoder;
    private readonly SequenceEncoder sequences;
    private readonly int batchSize;
    private readonly ILogger? logger;

    private TextEngine(OnnxRuntimeEncoder encoder, string configJson, ModelDefinition definition, TextTokenizer tokenizer, EncoderOptions options)
    {
        this.encoder = encoder;
        ConfigJson = configJson;
        MaxLength = Math.Min(options.MaxLength ?? definition.MaxSequence, definition.MaxSequence);
        sequences = new SequenceEncoder(tokenizer, MaxLength);
        batchSize = options.BatchSize;
        logger = options.Logger;
    }

    /// <summary>The number of values per text.</summary>
    public int Width => encoder.Width;

    /// <summary>The maximum number of tokens per text, special tokens included.</summary>
    public int MaxLength { get; }

    /// <summary>The text of the model's <c>config.json</c>.</summary>
    public string ConfigJson { get; }

    /// <summary>Loads a file and the tokenizer next to it.</summary>
    /// <param name="path">The ONNX file.</param>
    /// <param name="task">The task that the model must have.</param>
    /// <param name="options">The options. Null for the defaults.</param>
    /// <exception cref="NibbleException">
    /// The file or the tokenizer is missing or damaged, or the model was not exported by Nibble or has another task.
    /// </exception>
    /// <exception cref="NativeLibraryException">ONNX Runtime itself cannot be loaded.</exception>
    public static TextEngine Open(string path, ModelTask task, EncoderOptions? options)
    {
        options ??= new EncoderOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Threads ?? 1, 1, nameof(options.Threads));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BatchSize, 1, nameof(options.BatchSize));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxLength ?? LeastLength, LeastLength, nameof(options.MaxLength));
        RequireFile(path);
        var encoder = OnnxRuntimeEncoder.Open(path, ThreadLimit.Cap(options.Threads));
        try
        {
            var description = encoder.Describe(path);
            var definition = ModelFamilies.Parse(description.ConfigJson, description.Place);
            RequireTask(path, definition.Task, task);
            return new TextEngine(encoder, description.ConfigJson, definition, LoadTokenizer(path, definition), options);
        }
        catch
        {
            encoder.Dispose();
            throw;
        }
    }

    /// <summary>Rejects a path that is not a file.</summary>
    /// <exception cref="NibbleException">There is no such file.</exception>
    public static void RequireFile(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
        {
            throw new NibbleException(Directory.Exists(path)
                ? $"{path} is a folder, expected the ONNX file in it, such as {Path.Combine(path, "model.onnx")}"
                : $"There is no file {Path.GetFullPath(path)}, expected an encoder that Nibble exported to ONNX");
        }
    }

    /// <summary>Computes the values of texts.</summary>
    /// <param name="texts">The texts.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    /// <returns>The values of each text, in the order of the texts.</returns>
    /// <exception cref="ArgumentException">A text is null.</exception>
    /// <exception cref="NibbleException">The tokenizer cannot spell a text, or ONNX Runtime fails.</exception>
    /// <exception cref="ObjectDisposedException">The encoder is disposed.</exception>
    public float[][] Compute(IReadOnlyList<string> texts, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(texts);
        var encoded = Encode(texts, cancellation);
        var values = new float[texts.Count][];
        foreach (var rows in Enumerable.Range(0, encoded.Length).OrderBy(row => encoded[row].Length).Chunk(batchSize))
        {
            cancellation.ThrowIfCancellationRequested();
            var computed = Compute([.. rows.Select(row => encoded[row])]);
            for (var i = 0; i < rows.Length; i++)
            {
                values[rows[i]] = computed[(i * Width)..((i + 1) * Width)];
            }
        }

        return values;
    }

    /// <inheritdoc/>
    public void Dispose() => encoder.Dispose();

    private int[][] Encode(IReadOnlyList<string> texts, CancellationToken cancellation)
    {
        var (encoded, cut) = (new int[texts.Count][], 0);
        for (var i = 0; i < encoded.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            var text = sequences.Encode(texts[i] ?? throw new ArgumentException($"Text {i} is null.", nameof(texts)));
            encoded[i] = text.Ids;
            cut += text.IsCut ? 1 : 0;
        }

        if (cut > 0)
        {
            logger?.Cut(cut, encoded.Length, MaxLength);
        }

        return encoded;
    }

    /// <summary>Computes one batch.</summary>
    /// <returns>[texts, values] in row-major order.</returns>
    private float[] Compute(int[][] batch)
    {
        var length = batch.Max(ids => ids.Length);

        // The mask hides the padding from the model, so that any token will do.
        var (ids, mask) = (new long[batch.Length * length], new long[batch.Length * length]);
        for (var row = 0; row < batch.Length; row++)
        {
            for (var i = 0; i < batch[row].Length; i++)
            {
                (ids[(row * length) + i], mask[(row * length) + i]) = (batch[row][i], 1);
            }
        }

        return encoder.Compute(ids, mask, length);
    }

    private static void RequireTask(string path, ModelTask? found, ModelTask expected)
    {
        if (found != expected)
        {
            throw new NibbleException($"{path}: the model's task is {(found is { } other ? TaskConfig.NameOf(other) : "none")}, expected "
                + $"{TaskConfig.NameOf(expected)}. Models for embedding are loaded by {nameof(SentenceEncoder)}, those for classification by "
                + $"{nameof(TextClassifier)}");
        }
    }

    private static TextTokenizer LoadTokenizer(string path, ModelDefinition definition)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        return TextTokenizer.FilesIn(folder).Count > 0
            ? TextTokenizer.Load(folder, definition)
            : throw new NibbleException($"The folder {folder} has no tokenizer. The export wrote the tokenizer's files, such as vocab.txt or tokenizer.json, "
                + $"next to {Path.GetFileName(path)}: copy them too");
    }
}
