using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>Linear layers that read the same input.</summary>
/// <param name="Number">Which stage of its unit it is.</param>
/// <param name="Linears">The layers by their full names.</param>
/// <param name="Trace">What they read when the unit runs on its input, and the residual stream that their output is added to, if any.</param>
/// <param name="Producer">What makes their input, where factors of its channels can be moved there.</param>
internal sealed record UnitStage(
    int Number, IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears, Func<BlockInput, StageTrace> Trace, IChannelProducer? Producer);

/// <summary>What is in memory at a time: a block, or the head behind the last one.</summary>
internal sealed class QuantizationUnit : IDisposable
{
    /// <summary>Names the parts of a unit.</summary>
    /// <param name="block">The block, which goes away with the unit.</param>
    /// <param name="prefix">What stands before its names in the model; empty for the head.</param>
    public QuantizationUnit(IQuantizableBlock block, string prefix)
    {
        Block = block;
        Prefix = prefix;
        Parameters = [.. block.Parameters.Select(item => KeyValuePair.Create(prefix + item.Key, item.Value))];
        Stages =
        [
            .. block.Stages.Select((stage, number) => new UnitStage(
                number, [.. stage.Layers.Select(layer => KeyValuePair.Create(prefix + layer.Key, layer.Value))], stage.Trace, stage.Producer)),
        ];
    }

    /// <summary>The block.</summary>
    public IQuantizableBlock Block { get; }

    /// <summary>What stands before its names in the model.</summary>
    public string Prefix { get; }

    /// <summary>Whether it is the head.</summary>
    public bool IsHead => Prefix.Length == 0;

    /// <summary>The stages, in the order in which the unit computes them.</summary>
    public IReadOnlyList<UnitStage> Stages { get; }

    /// <summary>The tensors by full name.</summary>
    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters { get; }

    /// <summary>The linear layers by full name, in the model's order.</summary>
    public IEnumerable<KeyValuePair<string, QuantizableLinear>> Linears => Stages.SelectMany(stage => stage.Linears);

    /// <summary>Takes over the values of a unit of the same shape, and how its layers turn their inputs.</summary>
    public void CopyFrom(QuantizationUnit other)
    {
        using var guard = no_grad();
        foreach (var (mine, theirs) in Parameters.Zip(other.Parameters))
        {
            mine.Value.copy_(theirs.Value);
        }

        foreach (var (mine, theirs) in Linears.Zip(other.Linears))
        {
            mine.Value.InputTransform = theirs.Value.InputTransform;
        }
    }

    /// <summary>What the unit computes. Statistics leave padding out meanwhile.</summary>
    public Tensor Forward(BlockInput input)
    {
        using var pass = TokenMask.Begin(input.Mask);
        return Block.Compute(input);
    }

    /// <inheritdoc/>
    public void Dispose() => Block.Dispose();
}
