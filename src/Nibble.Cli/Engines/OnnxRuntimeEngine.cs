using Nibble.Onnx.Engine;

namespace Nibble.Cli.Engines;

/// <summary>An ONNX file that ONNX Runtime runs in this process.</summary>
internal sealed class OnnxRuntimeEngine(string path, int threads) : IDecoderEngine
{
    /// <summary>The engine's name on command lines.</summary>
    public const string EngineName = "onnxruntime";

    private readonly OnnxRuntimeDecoder decoder = OnnxRuntimeDecoder.Open(path, threads);
    private DecoderCache cache = new();

    public int VocabularySize => decoder.VocabularySize;

    public int MaxSequence => decoder.MaxSequence ?? int.MaxValue;

    /// <summary>The file's metadata.</summary>
    public IReadOnlyDictionary<string, string> Metadata => decoder.Metadata;

    public float[] Score(ReadOnlySpan<int> tokens, int first)
    {
        Forget();
        return decoder.Score(tokens)[(first * VocabularySize)..((tokens.Length - 1) * VocabularySize)];
    }

    public float[] Predict(ReadOnlySpan<int> tokens, int first)
    {
        Forget();
        return decoder.Score(tokens)[(first * VocabularySize)..];
    }

    public int[] Continue(ReadOnlySpan<int> prompt, int count)
    {
        Forget();
        return decoder.Continue(prompt, count);
    }

    public float[] Advance(ReadOnlySpan<int> tokens) => decoder.Next(tokens, cache);

    public void Dispose()
    {
        cache.Dispose();
        decoder.Dispose();
    }

    /// <summary>Starts over with an empty cache.</summary>
    public void Forget()
    {
        cache.Dispose();
        cache = new DecoderCache();
    }
}
