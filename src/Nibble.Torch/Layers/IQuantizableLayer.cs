using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>A layer whose weight and input can be quantized without replacing the module.</summary>
public interface IQuantizableLayer
{
    /// <summary>The weight. Its first axis holds the output channels, and all others together hold the input channels.</summary>
    Parameter Weight { get; }

    /// <summary>The input of the weight's quantizer: the weight, multiplied by the factor of a folded batch normalization if there is one.</summary>
    Tensor FoldedWeight => Weight;

    /// <summary>The quantizer of the weight. Null uses the weight unchanged.</summary>
    ITensorQuantizer? WeightQuantizer { get; set; }

    /// <summary>The quantizer of the input. Null uses the input unchanged.</summary>
    ITensorQuantizer? InputQuantizer { get; set; }
}
