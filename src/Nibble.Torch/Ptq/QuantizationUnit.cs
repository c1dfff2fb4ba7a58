using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>Linear layers that read the same input.</summary>
/// <param name="Kind">Which stage of a decoder block it is; null outside of one.</param>
/// <param name="Linears">The layers by their full names.</param>
/// <param name="Trace">What they read when the unit runs on its input, and the residual stream that their output is added to, if any.</param>
internal sealed record UnitStage(BlockStage? Kind, IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears, Func<Tensor, (Tensor Input, Tensor? Residual)> Trace);

/// <summary>What is in memory at a time: a decoder block, or the head behind the last one.</summary>
internal sealed class QuantizationUnit : IDisposable
{
    private readonly IDisposable module;
    private readonly Func<Tensor, Tensor> forward;

    private QuantizationUnit(IDisposable module, Func<Tensor, Tensor> forward)
    {
        this.module = module;
        this.forward = forward;
    }

    /// <summary>The decoder block; null for the head.</summary>
    public LlamaBlock? Block { get; private init; }

    /// <summary>The stages, in the order in which the unit computes them.</summary>
    public required IReadOnlyList<UnitStage> Stages { get; init; }

    /// <summary>The tensors by full name.</summary>
    public required IReadOnlyList<KeyValuePair<string, Parameter>> Parameters { get; init; }

    /// <summary>The linear layers by full name, in the model's order.</summary>
    public IEnumerable<KeyValuePair<string, QuantizableLinear>> Linears => Stages.SelectMany(stage => stage.Linears);

    /// <summary>A decoder block of a checkpoint.</summary>
    public static QuantizationUnit OfBlock(LlamaBlock block, int index)
    {
        var prefix = LlamaCheckpoint.BlockPrefix(index);
        return new QuantizationUnit(block, block.forward)
        {
            Block = block,
            Parameters = [.. block.named_parameters().Select(item => KeyValuePair.Create(prefix + item.name, item.parameter))],
            Stages = [.. Enum.GetValues<BlockStage>().Select(stage => new UnitStage(
                stage,
                [.. block.Linears(stage).Select(linear => KeyValuePair.Create(prefix + linear.Key, linear.Value))],
                x => block.Trace(stage, x)))],
        };
    }

    /// <summary>The head of a model, which reads the normalised output of the last block.</summary>
    public static QuantizationUnit OfHead(LlamaHead head) => new(head, x => head.Linear.forward(head.Norm.forward(x)))
    {
        Parameters = [KeyValuePair.Create(LlamaCheckpoint.NormName, head.Norm.Weight), KeyValuePair.Create(LlamaCheckpoint.HeadName + ".weight", head.Linear.Weight)],
        Stages = [new UnitStage(null, [KeyValuePair.Create(LlamaCheckpoint.HeadName, head.Linear)], x => (head.Norm.forward(x), null))],
    };

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

    /// <summary>What the unit computes.</summary>
    public Tensor Forward(Tensor x) => forward(x);

    /// <inheritdoc/>
    public void Dispose() => module.Dispose();
}
