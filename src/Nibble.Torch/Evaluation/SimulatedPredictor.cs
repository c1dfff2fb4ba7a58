using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>A decoder in libtorch with a key-value cache, float or with its quantization simulated.</summary>
/// <param name="model">The model. The caller keeps ownership.</param>
internal sealed class SimulatedPredictor(IDecoder model) : ITokenPredictor
{
    private readonly KeyValueCache cache = new(model.Definition.Layers);

    /// <inheritdoc/>
    public int MaxSequence => model.Definition.MaxSequence;

    /// <inheritdoc/>
    public float[] Advance(ReadOnlySpan<int> tokens)
    {
        var ids = new long[tokens.Length];
        for (var i = 0; i < ids.Length; i++)
        {
            ids[i] = tokens[i];
        }

        using var pause = CollectorPause.Begin();
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        return model.Logits(tensor(ids, 1, ids.Length), cache)[0][-1].contiguous().data<float>().ToArray();
    }

    /// <inheritdoc/>
    public void Dispose() => cache.Dispose();
}
