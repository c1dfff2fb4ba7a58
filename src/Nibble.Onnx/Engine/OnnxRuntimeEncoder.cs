using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Numerics;

namespace Nibble.Onnx.Engine;

/// <summary>An encoder that runs in ONNX Runtime on the CPU, in this process.</summary>
/// <remarks>
/// Inputs and outputs have the names that <see cref="OnnxExporter"/> writes. Safe for concurrent calls. If it is disposed while calls run, they finish, and
/// the last one frees the model.
/// </remarks>
public sealed class OnnxRuntimeEncoder : IDisposable
{
    private static readonly string[] Outputs = ["logits", "sentence_embedding"];
    private const string Types = "token_type_ids";
    private static readonly string[] Inputs = ["input_ids", "attention_mask"];

    private readonly InferenceSession session;
    private readonly RunOptions options = new();
    private readonly InputProbe? probe;
    private readonly string output;
    private readonly Lock gate = new();
    private int running;
    private bool isDisposed;

    private OnnxRuntimeEncoder(string path, InferenceSession session, InputProbe? probe)
    {
        this.session = session;
        this.probe = probe;
        foreach (var name in Inputs)
        {
            if (!session.InputMetadata.TryGetValue(name, out var input) || input.ElementDataType != TensorElementType.Int64)
            {
                throw new NibbleException($"{path}: the graph has no int64 input '{name}', expected an encoder, as Nibble exports it");
            }
        }

        if (session.InputMetadata.Keys.FirstOrDefault(name => name != Types && !Inputs.Contains(name)) is { } unknown)
        {
            throw new NibbleException($"{path}: the graph has an input '{unknown}', expected an encoder, as Nibble exports it");
        }

        output = Array.Find(Outputs, session.OutputMetadata.ContainsKey) ?? Outputs[0];
        Width = session.OutputMetadata.TryGetValue(output, out var values) && values.Dimensions is [_, > 0 and var width]
            ? width
            : throw new NibbleException($"{path}: the graph has no output {string.Join(" or ", Outputs)} with the shape [batch, values]");
    }

    /// <summary>The number of output values per sequence: classes, or channels of a vector.</summary>
    public int Width { get; }

    /// <summary>What the file's metadata say about the model.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <exception cref="NibbleException">The file was not exported by Nibble, or its manifest is damaged.</exception>
    internal ExportedDescription Describe(string path) =>
        OnnxMetadata.Describe(path, session.ModelMetadata.CustomMetadataMap.GetValueOrDefault, session.ModelMetadata.ProducerName);

    /// <summary>Whether a file holds an encoder exported by Nibble, judging from the names of its inputs and outputs.</summary>
    /// <param name="file">The file.</param>
    internal static bool IsEncoder(OnnxFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return file.Outputs.Any(value => Outputs.Contains(value.Name)) && file.Inputs.All(value => value.Name == Types || Inputs.Contains(value.Name));
    }

    /// <summary>Loads a file.</summary>
    /// <param name="path">The ONNX file. Its tensor file, if any, must be next to it.</param>
    /// <param name="threads">The number of threads per node.</param>
    /// <exception cref="NibbleException">The file is missing, is rejected by ONNX Runtime, or is not an encoder.</exception>
    /// <exception cref="NativeLibraryException">ONNX Runtime itself cannot be loaded.</exception>
    public static OnnxRuntimeEncoder Open(string path, int threads) => Open(path, OnnxRuntimeSession.Open(path, threads), null);

    /// <summary>Loads a file so that <see cref="Probe"/> can return the codes of the inputs of its layers.</summary>
    /// <inheritdoc cref="Open(string, int)"/>
    internal static OnnxRuntimeEncoder OpenProbed(string path, int threads)
    {
        var (session, probe) = OnnxRuntimeSession.OpenProbed(path, threads);
        return Open(path, session, probe);
    }

    /// <summary>The logits of the classes of each sequence, or its vector.</summary>
    /// <param name="ids">Token ids, [sequences, length] in row-major order. Sequences start at their first token and are padded at the end.</param>
    /// <param name="mask">1 for tokens and 0 for padding, in the same order.</param>
    /// <param name="length">Tokens per row.</param>
    /// <param name="types">The text of a pair that each token belongs to, in the same order. Null if each sequence is one text.</param>
    /// <returns>[sequences, values] in row-major order.</returns>
    /// <exception cref="ObjectDisposedException">The encoder is disposed.</exception>
    /// <exception cref="NibbleException">ONNX Runtime fails, for example because a sequence is longer than the model's positions.</exception>
    public float[] Compute(long[] ids, long[] mask, int length, long[]? types = null) => Run(ids, mask, length, types, [], _ => 0).Values;

    /// <summary><see cref="Compute"/>, and the codes that linear layers with quantized inputs computed with, including those of padding.</summary>
    /// <param name="ids">Token ids, [sequences, length] in row-major order. Sequences start at their first token and are padded at the end.</param>
    /// <param name="mask">1 for tokens and 0 for padding, in the same order.</param>
    /// <param name="length">Tokens per row.</param>
    /// <param name="types">The text of a pair that each token belongs to, in the same order. Null if each sequence is one text.</param>
    /// <returns>
    /// The values, and the codes by layer name for layers that also have quantized weights. The columns are in the order of the layer's own input.
    /// </returns>
    /// <exception cref="InvalidOperationException">The file was not opened with <see cref="OpenProbed"/>.</exception>
    /// <exception cref="NibbleException">ONNX Runtime fails, for example because a sequence is longer than the model's positions.</exception>
    internal (float[] Values, IReadOnlyDictionary<string, TokenCodes> Inputs) Probe(long[] ids, long[] mask, int length, long[]? types = null) =>
        probe is null ? throw new InvalidOperationException("The file was opened without a probe.") : Run(ids, mask, length, types, probe.Outputs, probe.Read);

    private (float[] Values, T Further) Run<T>(
        long[] ids, long[] mask, int length, long[]? types, IEnumerable<string> further, Func<IEnumerable<OrtValue>, T> read)
    {
        ArgumentNullException.ThrowIfNull(ids);
        ArgumentNullException.ThrowIfNull(mask);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        ArgumentOutOfRangeException.ThrowIfNotEqual(mask.Length, ids.Length, nameof(mask));
        Enter();
        try
        {
            return RunSession(ids, mask, length, types, further, read);
        }
        finally
        {
            Leave();
        }
    }

    private (float[] Values, T Further) RunSession<T>(
        long[] ids, long[] mask, int length, long[]? types, IEnumerable<string> further, Func<IEnumerable<OrtValue>, T> read)
    {
        long[] shape = [ids.Length / length, length];
        using var idsValue = OrtValue.CreateTensorValueFromMemory(ids, shape);
        using var maskValue = OrtValue.CreateTensorValueFromMemory(mask, shape);
        using var typesValue = OrtValue.CreateTensorValueFromMemory(types ?? new long[ids.Length], shape);
        var inputs = new Dictionary<string, OrtValue> { ["input_ids"] = idsValue, ["attention_mask"] = maskValue };
        if (session.InputMetadata.ContainsKey(Types))
        {
            inputs.Add(Types, typesValue);
        }

        try
        {
            using var results = session.Run(options, inputs, [output, .. further]);
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
        lock (gate)
        {
            if (!isDisposed)
            {
                isDisposed = true;
                FreeIfUnused();
            }
        }
    }

    private void Enter()
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(isDisposed, this);
            running++;
        }
    }

    private void Leave()
    {
        lock (gate)
        {
            running--;
            FreeIfUnused();
        }
    }

    /// <summary>Frees the session once no call uses it: a call in a freed session ends the process.</summary>
    private void FreeIfUnused()
    {
        if (isDisposed && running == 0)
        {
            options.Dispose();
            session.Dispose();
        }
    }

    private static OnnxRuntimeEncoder Open(string path, InferenceSession session, InputProbe? probe)
    {
        try
        {
            return new OnnxRuntimeEncoder(path, session, probe);
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }
}
