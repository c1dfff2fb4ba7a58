using System.Numerics.Tensors;
using Microsoft.ML.OnnxRuntime;
using Nibble.Numerics;

namespace Nibble.Onnx.Engine;

/// <summary>A decoder with a key-value cache that runs in ONNX Runtime on the CPU, in this process.</summary>
/// <remarks>The batch size is one. Inputs and outputs have the names that <see cref="OnnxExporter"/> writes.</remarks>
public sealed class OnnxRuntimeDecoder : IDisposable
{
    private const string Logits = "logits";
    private const string PastPrefix = "past_key_values.";
    private const string PresentPrefix = "present.";

    private static readonly string[] Inputs = ["input_ids", "attention_mask", "position_ids"];

    private readonly InferenceSession session;
    private readonly RunOptions options = new();
    private readonly IReadOnlyList<(string Past, string Present, long Heads, long Size)> caches;
    private readonly string[] outputs;
    private readonly InputProbe? probe;

    private OnnxRuntimeDecoder(string path, InferenceSession session, InputProbe? probe)
    {
        this.session = session;
        this.probe = probe;
        foreach (var name in Inputs)
        {
            if (!session.InputMetadata.TryGetValue(name, out var input) || input.ElementDataType != Microsoft.ML.OnnxRuntime.Tensors.TensorElementType.Int64)
            {
                throw new NibbleException(
                    $"{path}: the graph has no int64 input '{name}', expected a decoder with a key-value cache, as Nibble exports it");
            }
        }

        if (!session.OutputMetadata.TryGetValue(Logits, out var logits) || logits.Dimensions is not [_, _, > 0])
        {
            throw new NibbleException($"{path}: the graph has no output '{Logits}' with the shape [batch, sequence, vocabulary]");
        }

        VocabularySize = logits.Dimensions[2];
        caches = [.. session.InputMetadata.Where(input => input.Key.StartsWith(PastPrefix, StringComparison.Ordinal))
            .Select(input => Cache(path, input.Key, input.Value.Dimensions))];
        outputs = [Logits, .. caches.Select(cache => cache.Present), .. probe?.Outputs ?? []];
    }

    /// <summary>The version of ONNX Runtime.</summary>
    public static string EngineVersion => OrtEnv.Instance().GetVersionString();

    /// <summary>The size of the model's vocabulary.</summary>
    public int VocabularySize { get; }

    /// <summary>The model's maximum number of tokens. Null if the file does not specify it.</summary>
    public int? MaxSequence => OnnxMetadata.Number(Metadata, OnnxMetadata.MaxSequence);

    /// <summary>The metadata of the file, by name.</summary>
    public IReadOnlyDictionary<string, string> Metadata => session.ModelMetadata.CustomMetadataMap;

    /// <summary>Loads a file.</summary>
    /// <param name="path">The ONNX file. Its tensor file, if any, must be next to it.</param>
    /// <param name="threads">The number of threads per node.</param>
    /// <exception cref="NibbleException">The file is missing, is rejected by ONNX Runtime, or is not a decoder.</exception>
    /// <exception cref="NativeLibraryException">ONNX Runtime itself cannot be loaded.</exception>
    public static OnnxRuntimeDecoder Open(string path, int threads) => Open(path, OnnxRuntimeSession.Open(path, threads), null);

    /// <summary>Whether a file holds a decoder with a key-value cache, judging from the names of its inputs and outputs.</summary>
    /// <param name="file">The file.</param>
    internal static bool IsDecoder(OnnxFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return file.Outputs.Any(value => value.Name == Logits) && Inputs.All(name => file.Inputs.Any(value => value.Name == name));
    }

    /// <summary>Loads a file so that <see cref="Probe"/> can return the codes of the inputs of its layers.</summary>
    /// <inheritdoc cref="Open(string, int)"/>
    internal static OnnxRuntimeDecoder OpenProbed(string path, int threads)
    {
        var (session, probe) = OnnxRuntimeSession.OpenProbed(path, threads);
        return Open(path, session, probe);
    }

    /// <summary>The logits of the next token after every position, computed in one run.</summary>
    /// <param name="tokens">Token ids, at least one.</param>
    /// <returns>[tokens, vocabulary] in row-major order.</returns>
    /// <exception cref="NibbleException">ONNX Runtime fails, for example because an id is outside the vocabulary.</exception>
    public float[] Score(ReadOnlySpan<int> tokens)
    {
        using var cache = new DecoderCache();
        return Advance(tokens, cache);
    }

    /// <summary><see cref="Score"/>, and the codes that linear layers with quantized inputs computed with.</summary>
    /// <param name="tokens">Token ids, at least one.</param>
    /// <returns>
    /// The logits, and the codes by layer name for layers that also have quantized weights. The columns are in the order of the layer's own input.
    /// </returns>
    /// <exception cref="InvalidOperationException">The file was not opened with <see cref="OpenProbed"/>.</exception>
    /// <exception cref="NibbleException">ONNX Runtime fails, for example because an id is outside the vocabulary.</exception>
    internal (float[] Logits, IReadOnlyDictionary<string, TokenCodes> Inputs) Probe(ReadOnlySpan<int> tokens)
    {
        using var cache = new DecoderCache();
        return probe is null ? throw new InvalidOperationException("The file was opened without a probe.") : Run(tokens, cache, 0, probe.Read);
    }

    /// <summary>The logits of the next token after every new position. Continues from a cache.</summary>
    /// <param name="tokens">The new tokens, at least one.</param>
    /// <param name="cache">The cache of the preceding tokens. The new tokens are added to it.</param>
    /// <returns>[tokens, vocabulary] in row-major order.</returns>
    /// <exception cref="NibbleException">ONNX Runtime fails, for example because an id is outside the vocabulary.</exception>
    public float[] Advance(ReadOnlySpan<int> tokens, DecoderCache cache) => Run(tokens, cache, 0, _ => 0).Logits;

    /// <summary>The logits of the token after the last new one. Continues from a cache.</summary>
    /// <param name="tokens">The new tokens, at least one.</param>
    /// <param name="cache">The cache of the preceding tokens. The new tokens are added to it.</param>
    /// <returns>One logit per token of the vocabulary.</returns>
    /// <exception cref="NibbleException">ONNX Runtime fails, for example because an id is outside the vocabulary.</exception>
    public float[] Next(ReadOnlySpan<int> tokens, DecoderCache cache) => Run(tokens, cache, tokens.Length - 1, _ => 0).Logits;

    /// <summary>Runs all new tokens. Returns the logits from a given one, and the result of reading the additional outputs.</summary>
    private (float[] Logits, T Further) Run<T>(ReadOnlySpan<int> tokens, DecoderCache cache, int first, Func<IEnumerable<OrtValue>, T> read)
    {
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentOutOfRangeException.ThrowIfZero(tokens.Length, nameof(tokens));
        var ids = Array.ConvertAll(tokens.ToArray(), id => (long)id);
        var total = cache.Length + ids.Length;
        long[] mask = [.. Enumerable.Repeat(1L, total)];
        long[] positions = [.. Enumerable.Range(cache.Length, ids.Length).Select(position => (long)position)];
        using var idsValue = OrtValue.CreateTensorValueFromMemory(ids, [1, ids.Length]);
        using var maskValue = OrtValue.CreateTensorValueFromMemory(mask, [1, total]);
        using var positionsValue = OrtValue.CreateTensorValueFromMemory(positions, [1, ids.Length]);
        cache.Start(() => caches.Select(entry => OrtValue.CreateTensorValueFromMemory(Array.Empty<float>(), [1, entry.Heads, 0, entry.Size])));
        var inputs = new Dictionary<string, OrtValue> { ["input_ids"] = idsValue, ["attention_mask"] = maskValue, ["position_ids"] = positionsValue };
        for (var i = 0; i < caches.Count; i++)
        {
            inputs.Add(caches[i].Past, cache.Values[i]);
        }

        try
        {
            var results = session.Run(options, inputs, outputs);
            using var logits = results[0];
            cache.Replace([.. results.Skip(1)], total);
            return (logits.GetTensorDataAsSpan<float>()[(first * VocabularySize)..].ToArray(), read(results.Skip(1 + caches.Count)));
        }
        catch (OnnxRuntimeException exception)
        {
            throw new NibbleException($"ONNX Runtime {EngineVersion} fails: {exception.Message}", exception);
        }
    }

    /// <summary>Continues a prompt with the most likely token at each step.</summary>
    /// <param name="prompt">The tokens to continue, at least one.</param>
    /// <param name="count">The number of new tokens.</param>
    /// <param name="cancellation">Cancels between tokens.</param>
    public int[] Continue(ReadOnlySpan<int> prompt, int count, CancellationToken cancellation = default)
    {
        using var cache = new DecoderCache();
        var written = new int[count];
        var next = prompt.ToArray();
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            written[i] = TensorPrimitives.IndexOfMax<float>(Next(next, cache));
            next = [written[i]];
        }

        return written;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        options.Dispose();
        session.Dispose();
    }

    private static OnnxRuntimeDecoder Open(string path, InferenceSession session, InputProbe? probe)
    {
        try
        {
            return new OnnxRuntimeDecoder(path, session, probe);
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }

    private (string Past, string Present, long Heads, long Size) Cache(string path, string name, int[] dimensions)
    {
        var present = string.Concat(PresentPrefix, name.AsSpan(PastPrefix.Length));
        return dimensions is [_, > 0 and var heads, _, > 0 and var size] && session.OutputMetadata.ContainsKey(present)
            ? (name, present, heads, size)
            : throw new NibbleException(
                $"{path}: the input '{name}' has shape [{string.Join(", ", dimensions)}], expected [batch, key-value heads, past, head size] and an output "
                + $"'{present}'");
    }
}
