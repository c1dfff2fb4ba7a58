using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>A layer whose weight and input can be quantized without replacing the module.</summary>
public interface IQuantizableLayer
{
    /// <summary>The weight; its first axis holds the output channels, all others together the input channels.</summary>
    Parameter Weight { get; }

    /// <summary>What the weight's quantizer is given: the weight, multiplied by what follows the layer where that is folded into it.</summary>
    Tensor FoldedWeight => Weight;

    /// <summary>What happens to the weight before it is used; null uses it as it is.</summary>
    ITensorQuantizer? WeightQuantizer { get; set; }

    /// <summary>What happens to the input before it is used; null uses it as it is.</summary>
    ITensorQuantizer? InputQuantizer { get; set; }
}
