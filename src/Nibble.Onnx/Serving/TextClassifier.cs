using System.Numerics.Tensors;
using Nibble.Models;

namespace Nibble.Onnx.Serving;

/// <summary>The classes of a text.</summary>
/// <param name="Label">The name of the most probable class.</param>
/// <param name="Probability">Its probability, 0 to 1.</param>
/// <param name="Probabilities">The probability of each class, in the order of <see cref="TextClassifier.Labels"/>. They add up to 1.</param>
public sealed record ClassifiedText(string Label, float Probability, IReadOnlyList<float> Probabilities);

/// <summary>Classifies texts with an exported encoder, in ONNX Runtime on the CPU.</summary>
/// <remarks>
/// Safe for concurrent calls: load one for the whole application. If it is disposed while calls run, they finish, and the last one frees the model. libtorch is
/// not needed.
/// </remarks>
public sealed class TextClassifier : IDisposable
{
    private readonly TextEngine engine;

    private TextClassifier(TextEngine engine)
    {
        this.engine = engine;
        Labels = ClassLabels.Of(engine.ConfigJson).Names;
    }

    /// <summary>The name of each class, starting with class 0.</summary>
    public IReadOnlyList<string> Labels { get; }

    /// <summary>The maximum number of tokens per text, special tokens included. Longer texts are cut.</summary>
    public int MaxLength => engine.MaxLength;

    /// <summary>Loads a classifier and the tokenizer next to it, as <see cref="OnnxExporter"/> writes them.</summary>
    /// <param name="path">The ONNX file. Its tensor file, if any, must be next to it too.</param>
    /// <param name="options">The options. Default: null, all defaults.</param>
    /// <exception cref="NibbleException">
    /// The file or the tokenizer is missing or damaged, or the file holds another kind of model or was not exported by Nibble.
    /// </exception>
    /// <exception cref="NativeLibraryException">ONNX Runtime itself cannot be loaded.</exception>
    /// <exception cref="ArgumentException"><paramref name="path"/> is null or empty, or an option is out of its range.</exception>
    public static TextClassifier Open(string path, EncoderOptions? options = null) => new(TextEngine.Open(path, ModelTask.Classification, options));

    /// <summary>Classifies a text.</summary>
    /// <param name="text">The text. May be empty.</param>
    /// <exception cref="NibbleException">The tokenizer cannot spell the text, or ONNX Runtime fails.</exception>
    /// <exception cref="ObjectDisposedException">The classifier is disposed.</exception>
    public ClassifiedText Classify(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return ToClasses(engine.Compute([text], CancellationToken.None)[0]);
    }

    /// <summary>Classifies texts in batches.</summary>
    /// <param name="texts">The texts, each of which may be empty.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    /// <returns>The classes of each text, in the order of the texts.</returns>
    /// <exception cref="ArgumentException">A text is null.</exception>
    /// <exception cref="NibbleException">The tokenizer cannot spell a text, or ONNX Runtime fails.</exception>
    /// <exception cref="ObjectDisposedException">The classifier is disposed.</exception>
    public ClassifiedText[] Classify(IReadOnlyList<string> texts, CancellationToken cancellation = default) =>
        Array.ConvertAll(engine.Compute(texts, cancellation), ToClasses);

    /// <inheritdoc/>
    public void Dispose() => engine.Dispose();

    private ClassifiedText ToClasses(float[] logits)
    {
        // Only differences of logits count, and the exponential of a large one overflows.
        TensorPrimitives.Subtract(logits, TensorPrimitives.Max<float>(logits), logits);
        TensorPrimitives.SoftMax(logits, logits);
        var best = TensorPrimitives.IndexOfMax<float>(logits);
        return new ClassifiedText(Labels[best], logits[best], logits);
    }
}
