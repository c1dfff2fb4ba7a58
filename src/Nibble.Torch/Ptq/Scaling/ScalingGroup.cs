using Nibble.Formats;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Scaling;

/// <summary>The linear layers of a stage with what makes their input, between which factors of the input's channels can move.</summary>
/// <remarks>
/// With factors s the producer gives <c>x / s</c> and the layers compute with <c>W diag(s)</c>: the same output. A norm, the value
/// projection (seen through the attention's weights) and the up projection are linear in what they give, so all of them can.
/// </remarks>
/// <param name="block">The block.</param>
/// <param name="stage">Whose input is scaled.</param>
/// <param name="storedAs">The element type in which the checkpoint stores the producer where that is a norm.</param>
internal sealed class ScalingGroup(LlamaBlock block, BlockStage stage, ElementType storedAs)
{
    /// <summary>The layers that read the input, by name inside the block.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Consumers { get; } = block.Linears(stage);

    /// <summary>Whether a layer turns its input first: the channels that are quantized are then not those that the producer makes.</summary>
    public bool Turned => Consumers.Any(consumer => consumer.Value.InputTransform is not null);

    /// <summary>Folds a statistic of the input's columns, [columns], into the channels that may differ: those of one head of values, which several query heads read, have one factor.</summary>
    /// <param name="columns">One value a column.</param>
    /// <param name="merge">Makes one of several, along the given axis.</param>
    public Tensor Tie(Tensor columns, Func<Tensor, int, Tensor> merge) => stage == BlockStage.AttentionOutput
        ? merge(columns.view(-1, block.Attention.Share, block.Attention.HeadSize), 1).reshape(-1)
        : columns;

    /// <summary>One factor a column from one a channel: the inverse of <see cref="Tie"/>.</summary>
    public Tensor Spread(Tensor channels) => stage == BlockStage.AttentionOutput
        ? channels.view(-1, 1, block.Attention.HeadSize).expand(-1, block.Attention.Share, -1).reshape(-1)
        : channels;

    /// <summary>The factors near the wished ones that the checkpoint can hold exactly.</summary>
    /// <remarks>
    /// A norm's weight g is stored in 16 bits in most checkpoints: g / s is rounded first, and s becomes g over that. A weight of 0 (the
    /// channel is dead), or one that would underflow or overflow, keeps the factor 1. The rows of a projection are taken as they are: they
    /// are quantized themselves, and scaling a row scales its groups' scales.
    /// </remarks>
    public Tensor Realize(Tensor channels)
    {
        if (Norm is not { } norm)
        {
            return channels;
        }

        var rounded = Conversion.RoundTo(norm.Weight / channels, storedAs);
        var ratio = norm.Weight / rounded;
        return where(ratio.isfinite() & (ratio > 0), ratio, ones_like(ratio));
    }

    /// <summary>Divides the producer and multiplies the consumers.</summary>
    /// <param name="channels">What <see cref="Realize"/> gave.</param>
    public void Fold(Tensor channels)
    {
        if (Norm is { } norm)
        {
            // g / (g / rounded) may be the neighbour of what was rounded, so it is rounded again.
            norm.Weight.copy_(Conversion.RoundTo(norm.Weight / channels, storedAs));
        }
        else
        {
            var producer = stage == BlockStage.AttentionOutput ? block.Attention.Value : block.FeedForward.Up;
            producer.Weight.div_(channels.unsqueeze(1));
            producer.Bias?.div_(channels);
        }

        var columns = Spread(channels);
        foreach (var (_, linear) in Consumers)
        {
            linear.Weight.mul_(columns);
        }
    }

    private RmsNorm? Norm => stage switch
    {
        BlockStage.AttentionInput => block.InputNorm,
        BlockStage.FeedForwardInput => block.FeedForwardNorm,
        _ => null,
    };
}
