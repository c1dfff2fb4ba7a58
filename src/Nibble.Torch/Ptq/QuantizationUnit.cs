using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>Linear layers that read the same input.</summary>
/// <param name="Number">The index of the stage in its unit.</param>
/// <param name="Linears">The layers with their full names.</param>
/// <param name="Trace">Computes the layers' input from the unit's input, and the residual stream that their output is added to, if any.</param>
/// <param name="Producer">The module that produces their input, if channel factors can be moved into it.</param>
internal sealed record UnitStage(
    int Number, IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears, Func<BlockInput, StageTrace> Trace, IChannelProducer? Producer);

/// <summary>The part of the model that is in memory at a time: a block, or the head after the last one.</summary>
internal sealed class QuantizationUnit : IDisposable
{
    /// <summary>Creates a unit with full names.</summary>
    /// <param name="block">The block. It is disposed with the unit.</param>
    /// <param name="prefix">The prefix of its names in the model. Empty for the head.</param>
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

    /// <summary>The prefix of its names in the model.</summary>
    public string Prefix { get; }

    /// <summary>Whether it is the head.</summary>
    public bool IsHead => Prefix.Length == 0;

    /// <summary>The stages, in the order of computation.</summary>
    public IReadOnlyList<UnitStage> Stages { get; }

    /// <summary>The parameters with their full names.</summary>
    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters { get; }

    /// <summary>The linear layers with their full names, in the model's order.</summary>
    public IEnumerable<KeyValuePair<string, QuantizableLinear>> Linears => Stages.SelectMany(stage => stage.Linears);

    /// <summary>Copies the values of a unit of the same shape, and the rotations of its layers' inputs.</summary>
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

    /// <summary>The unit's output. Statistics exclude padding during the call.</summary>
    public Tensor Forward(BlockInput input)
    {
        using var pass = TokenMask.Begin(input.Mask);
        return Block.Compute(input);
    }

    /// <inheritdoc/>
    public void Dispose() => Block.Dispose();
}
