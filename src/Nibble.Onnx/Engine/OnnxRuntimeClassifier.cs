using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Numerics;

namespace Nibble.Onnx.Engine;

/// <summary>An encoder that classifies sequences, which ONNX Runtime computes on the processor, in this process.</summary>
/// <remarks>Inputs and outputs are named as <see cref="Encoders.EncoderExporter"/> writes them.</remarks>
public sealed class OnnxRuntimeClassifier : IDisposable
{
    private const string Logits = "logits";
    private const string Types = "token_type_ids";

    private readonly InferenceSession session;
    private readonly RunOptions options = new();
    private readonly InputProbe? probe;

    private OnnxRuntimeClassifier(string path, InferenceSession session, InputProbe? probe)
    {
        this.session = session;
        this.probe = probe;
        foreach (var name in (string[])["input_ids", "attention_mask"])
        {
            if (!session.InputMetadata.TryGetValue(name, out var input) || input.ElementDataType != TensorElementType.Int64)
            {
                throw new NibbleException($"{path}: the graph has no int64 input '{name}', expected a classifier as nibble export writes it");
            }
        }

        if (session.InputMetadata.Keys.FirstOrDefault(name => name is not ("input_ids" or "attention_mask" or Types)) is { } unknown)
        {
            throw new NibbleException($"{path}: the graph has an input '{unknown}', expected a classifier as nibble export writes it");
        }

        Labels = session.OutputMetadata.TryGetValue(Logits, out var logits) && logits.Dimensions is [_, > 0 and var labels]
            ? labels
            : throw new NibbleException($"{path}: the graph has no output '{Logits}' of shape [batch, classes]");
    }

    /// <summary>Classes.</summary>
    public int Labels { get; }

    /// <summary>Loads a file.</summary>
    /// <param name="path">The ONNX file; its tensors' file lies beside it.</param>
    /// <param name="threads">Threads of a node.</param>
    /// <exception cref="NibbleException">The file is missing, ONNX Runtime refuses it, or it is no classifier.</exception>
    /// <exception cref="NativeLibraryException">ONNX Runtime itself cannot be loaded.</exception>
    public static OnnxRuntimeClassifier Open(string path, int threads) => Open(path, OnnxRuntimeSession.Open(path, threads), null);

    /// <summary>Loads a file so that <see cref="Probe"/> can also tell the codes of the inputs of its layers.</summary>
    /// <inheritdoc cref="Open(string, int)"/>
    public static OnnxRuntimeClassifier OpenProbed(string path, int threads)
    {
        var (session, probe) = OnnxRuntimeSession.OpenProbed(path, threads);
        return Open(path, session, probe);
    }

    /// <summary>The logits of the classes of each sequence; token types are all 0.</summary>
    /// <param name="ids">Token ids, [sequences, length] row by row, each sequence from its first token on and padded at its end.</param>
    /// <param name="mask">1 where a token is and 0 where padding is, in the same order.</param>
    /// <param name="length">Tokens of a row.</param>
    /// <returns>[sequences, classes], row by row.</returns>
    /// <exception cref="NibbleException">ONNX Runtime fails, such as at a sequence beyond the model's positions.</exception>
    public float[] Classify(long[] ids, long[] mask, int length) => Run(ids, mask, length, [], _ => 0).Logits;

    /// <summary><see cref="Classify"/>, and the codes that linear layers with quantized inputs computed with, those of padding too.</summary>
    /// <param name="ids">Token ids, [sequences, length] row by row, each sequence from its first token on and padded at its end.</param>
    /// <param name="mask">1 where a token is and 0 where padding is, in the same order.</param>
    /// <param name="length">Tokens of a row.</param>
    /// <returns>The logits, and codes by the names of layers, those whose weights are quantized too; in the order of the layer's own inputs.</returns>
    /// <exception cref="InvalidOperationException">The file was not opened by <see cref="OpenProbed"/>.</exception>
    /// <exception cref="NibbleException">ONNX Runtime fails, such as at a sequence beyond the model's positions.</exception>
    public (float[] Logits, IReadOnlyDictionary<string, TokenCodes> Inputs) Probe(long[] ids, long[] mask, int length) =>
        probe is null ? throw new InvalidOperationException("The file was opened without a probe.") : Run(ids, mask, length, probe.Outputs, probe.Read);

    private (float[] Logits, T Further) Run<T>(long[] ids, long[] mask, int length, IEnumerable<string> further, Func<IEnumerable<OrtValue>, T> read)
    {
        ArgumentNullException.ThrowIfNull(ids);
        ArgumentNullException.ThrowIfNull(mask);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        ArgumentOutOfRangeException.ThrowIfNotEqual(mask.Length, ids.Length, nameof(mask));
        long[] shape = [ids.Length / length, length];
        using var idsValue = OrtValue.CreateTensorValueFromMemory(ids, shape);
        using var maskValue = OrtValue.CreateTensorValueFromMemory(mask, shape);
        using var typesValue = OrtValue.CreateTensorValueFromMemory(new long[ids.Length], shape);
        var inputs = new Dictionary<string, OrtValue> { ["input_ids"] = idsValue, ["attention_mask"] = maskValue };
        if (session.InputMetadata.ContainsKey(Types))
        {
            inputs.Add(Types, typesValue);
        }

        try
        {
            using var results = session.Run(options, inputs, [Logits, .. further]);
            return (results[0].GetTensorDataAsSpan<float>().ToArray(), read(results.Skip(1)));
        }
        catch (OnnxRuntimeException exception)
        {
            throw new NibbleException($"ONNX Runtime {OnnxRuntimeDecoder.EngineVersion} fails: {exception.Message}", exception);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        options.Dispose();
        session.Dispose();
    }

    private static OnnxRuntimeClassifier Open(string path, InferenceSession session, InputProbe? probe)
    {
        try
        {
            return new OnnxRuntimeClassifier(path, session, probe);
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }
}
