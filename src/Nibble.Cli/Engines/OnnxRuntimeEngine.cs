using Nibble.Onnx.Engine;

namespace Nibble.Cli.Engines;

/// <summary>An ONNX file that ONNX Runtime computes in this process.</summary>
internal sealed class OnnxRuntimeEngine(string path, int threads) : IDecoderEngine
{
    private readonly OnnxRuntimeDecoder decoder = OnnxRuntimeDecoder.Open(path, threads);

    public int VocabularySize => decoder.VocabularySize;

    public float[] Score(ReadOnlySpan<int> tokens, int first) => decoder.Score(tokens)[(first * VocabularySize)..((tokens.Length - 1) * VocabularySize)];

    public int[] Continue(ReadOnlySpan<int> prompt, int count) => decoder.Continue(prompt, count);

    public void Dispose() => decoder.Dispose();
}
