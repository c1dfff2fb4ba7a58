using Nibble.Torch.Layers;

namespace Nibble.Torch.Models.Llama;

/// <summary>What follows the last block of a model whose head is a matrix of its own: the final norm and the head.</summary>
internal sealed class LlamaHead(LlamaConfig config) : IDisposable
{
    public RmsNorm Norm { get; } = new(config.HiddenSize, config.NormEpsilon);

    public QuantizableLinear Linear { get; } = new(config.HiddenSize, config.VocabularySize, bias: false);

    public void Dispose()
    {
        Norm.Dispose();
        Linear.Dispose();
    }
}
