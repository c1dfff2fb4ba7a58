using Nibble.Numerics;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>A weight that is held in 4-bit NormalFloat and computed from it whenever a product needs it.</summary>
internal sealed class NormalFloatWeight(NormalFloatTensor packed) : ITransientWeight
{
    public IReadOnlyList<Tensor> Sources => [];

    /// <summary>Packs a layer's weight and frees the float one; a layer whose weight is packed stays as it is.</summary>
    public static NormalFloatWeight Hold(IQuantizableLayer layer)
    {
        if (layer.WeightQuantizer is NormalFloatWeight held)
        {
            return held;
        }

        using var scope = NewDisposeScope();
        var values = layer.Weight.detach().cpu().contiguous();
        var weight = new NormalFloatWeight(NormalFloatTensor.Quantize(TensorMemory.Floats(values)));
        layer.WeightQuantizer = weight;
        TransientWeight.Release(layer);
        return weight;
    }

    public Tensor Apply(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var values = empty(tensor.shape);
        packed.Dequantize(TensorMemory.Floats(values));
        return values.to(tensor.device).MoveToOuterDisposeScope();
    }
}
