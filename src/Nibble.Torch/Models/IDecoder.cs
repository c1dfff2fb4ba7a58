using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>A model that predicts the next token, and can go on from where a cache stands.</summary>
public interface IDecoder : IQuantizableModel
{
    /// <summary>Logits of the next token after every position.</summary>
    /// <param name="tokens">Token ids, int64 [batch, length].</param>
    /// <param name="cache">Keys and values of the tokens before these, to which theirs are added; null to start at position 0 without keeping any.</param>
    /// <returns>[batch, length, vocabulary].</returns>
    Tensor Logits(Tensor tokens, KeyValueCache? cache = null);

    /// <summary>The table of the tokens, [vocabulary, hidden]; the head too where there is none of its own.</summary>
    Parameter Embedding { get; }

    /// <summary>What happens to the input of a head that is the table of the tokens; null leaves it as it is.</summary>
    ITensorQuantizer? TiedHeadInput { get; set; }
}

/// <summary>A block whose attention caches keys and values, which can be quantized.</summary>
public interface IKeyValueBlock : IQuantizableBlock
{
    /// <summary>The module of the attention, by its name inside the block.</summary>
    string Attention { get; }

    /// <summary>Heads of keys and values, and the values of each.</summary>
    (int Heads, int Size) KeyValueHeads { get; }

    /// <summary>What happens to keys after their rotation, [batch, key-value heads, length, head size]; null uses them as they are.</summary>
    ITensorQuantizer? KeyQuantizer { get; set; }

    /// <summary>What happens to values, [batch, key-value heads, length, head size]; null uses them as they are.</summary>
    ITensorQuantizer? ValueQuantizer { get; set; }

    /// <summary>Turns queries and keys after their rotary embedding, which changes no product of theirs but spreads the keys' outliers; null leaves them
    /// as they are.</summary>
    HadamardTransform? HeadRotation { get; set; }

    /// <summary>The keys before their rotation, [batch, key-value heads, length, head size].</summary>
    Tensor UnrotatedKeys(BlockInput input);

    /// <summary>Turns keys to the positions from <paramref name="start"/> on.</summary>
    Tensor RotateKeys(Tensor keys, int start);
}

/// <summary>Turns a model by Hadamard matrices that spread outliers, without changing what it computes (QuaRot, Ashkboos et al. 2024), part by part.</summary>
public interface IModelRotation : IDisposable
{
    /// <summary>Turns a block in place.</summary>
    /// <param name="block">The float block.</param>
    /// <param name="isQuantized">Whether a layer, by its name inside the block, is quantized: an artifact records what turns an input with the layer.</param>
    void TurnBlock(IQuantizableBlock block, Func<string, bool> isQuantized);

    /// <summary>Turns a head in place.</summary>
    void TurnHead(IQuantizableBlock head);

    /// <summary>Turns rows of a tensor outside the blocks.</summary>
    /// <param name="tensor">The tensor's name.</param>
    /// <param name="rows">Rows of it, before they are turned.</param>
    /// <param name="read">Reads another tensor as the checkpoint has it.</param>
    Tensor TurnOuter(string tensor, Tensor rows, Func<string, Tensor> read);
}
