using Nibble.Numerics;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>A weight that is stored as 4-bit NormalFloat and dequantized whenever a product needs it.</summary>
internal sealed class NormalFloatWeight(NormalFloatTensor packed) : ITransientWeight
{
    public IReadOnlyList<Tensor> Sources => [];

    /// <summary>Packs a layer's weight and releases the float weight. A weight that is already packed stays unchanged.</summary>
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
