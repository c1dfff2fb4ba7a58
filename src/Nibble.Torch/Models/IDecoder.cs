using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>A model that predicts the next token and can continue from a cache.</summary>
public interface IDecoder : IQuantizableModel
{
    /// <summary>Logits of the next token after every position.</summary>
    /// <param name="tokens">Token ids, int64 [batch, length].</param>
    /// <param name="cache">
    /// Keys and values of the preceding tokens, to which those of <paramref name="tokens"/> are added. Null starts at position 0 and keeps none.
    /// </param>
    /// <returns>[batch, length, vocabulary].</returns>
    Tensor Logits(Tensor tokens, KeyValueCache? cache = null);

    /// <summary>The token embedding table, [vocabulary, hidden]. It is also the head if the model has no separate one.</summary>
    Parameter Embedding { get; }

    /// <summary>The quantizer of the head's input if the head is tied to the token embedding. Null leaves the input unchanged.</summary>
    ITensorQuantizer? TiedHeadInput { get; set; }
}

/// <summary>A block whose attention caches keys and values, which can be quantized.</summary>
public interface IKeyValueBlock : IQuantizableBlock
{
    /// <summary>The name of the attention module inside the block.</summary>
    string Attention { get; }

    /// <summary>The number of key-value heads and the size of each.</summary>
    (int Heads, int Size) KeyValueHeads { get; }

    /// <summary>The quantizer of the rotated keys, [batch, key-value heads, length, head size]. Null leaves them unchanged.</summary>
    ITensorQuantizer? KeyQuantizer { get; set; }

    /// <summary>The quantizer of the values, [batch, key-value heads, length, head size]. Null leaves them unchanged.</summary>
    ITensorQuantizer? ValueQuantizer { get; set; }

    /// <summary>
    /// Rotates queries and keys after their rotary embedding. This changes none of their products but spreads the keys' outliers. Null leaves them unchanged.
    /// </summary>
    HadamardTransform? HeadRotation { get; set; }

    /// <summary>The keys before the rotary embedding, [batch, key-value heads, length, head size].</summary>
    Tensor UnrotatedKeys(BlockInput input);

    /// <summary>Applies the rotary embedding to keys for the positions from <paramref name="start"/>.</summary>
    Tensor RotateKeys(Tensor keys, int start);
}

/// <summary>
/// Rotates a model, part by part, with Hadamard matrices that spread outliers. The model's output does not change (QuaRot, Ashkboos et al. 2024).
/// </summary>
public interface IModelRotation : IDisposable
{
    /// <summary>Rotates a block in place.</summary>
    /// <param name="block">The float block.</param>
    /// <param name="isQuantized">
    /// Whether the layer of this name inside the block is quantized. An artifact stores an input rotation together with the quantized layer.
    /// </param>
    void TurnBlock(IQuantizableBlock block, Func<string, bool> isQuantized);

    /// <summary>Rotates a head in place.</summary>
    void TurnHead(IQuantizableBlock head);

    /// <summary>Rotates rows of a tensor outside the blocks.</summary>
    /// <param name="tensor">The tensor's name.</param>
    /// <param name="rows">Rows of the tensor, before the rotation.</param>
    /// <param name="read">Reads another tensor as it is in the checkpoint.</param>
    Tensor TurnOuter(string tensor, Tensor rows, Func<string, Tensor> read);
}
