using Nibble.Files;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>What makes a stage's input, linearly in each channel, so that it can give <c>x / s</c> where the layers then compute with <c>W
/// diag(s)</c>.</summary>
public interface IChannelProducer
{
    /// <summary>The parameter, by its name inside the block, whose stored type limits what factors can be; null where none does.</summary>
    string? Stored => null;

    /// <summary>Folds a statistic of the input's columns, [columns], into the channels that may differ.</summary>
    /// <param name="columns">One value a column.</param>
    /// <param name="merge">Makes one of several, along the given axis.</param>
    Tensor Tie(Tensor columns, Func<Tensor, int, Tensor> merge) => columns;

    /// <summary>One factor a column from one a channel: the inverse of <see cref="Tie"/>.</summary>
    Tensor Spread(Tensor channels) => channels;

    /// <summary>The factors near the wished ones that the checkpoint can hold exactly.</summary>
    /// <param name="channels">The wished ones.</param>
    /// <param name="storedAs">The type of <see cref="Stored"/>.</param>
    Tensor Realize(Tensor channels, ElementType storedAs) => channels;

    /// <summary>Divides what is made.</summary>
    /// <param name="channels">What <see cref="Realize"/> gave.</param>
    /// <param name="storedAs">The type of <see cref="Stored"/>.</param>
    void Divide(Tensor channels, ElementType storedAs);
}

/// <summary>A norm whose output nothing else reads.</summary>
/// <param name="Stored">Its weight's name inside the block.</param>
/// <param name="Weight">Its weight.</param>
internal sealed record NormProducer(string Stored, Parameter Weight) : IChannelProducer
{
    /// <inheritdoc/>
    /// <remarks>
    /// A norm's weight g is stored in 16 bits in most checkpoints: g / s is rounded first, and s becomes g over that. A weight of 0 (the
    /// channel is dead), or one that would underflow or overflow, keeps the factor 1.
    /// </remarks>
    public Tensor Realize(Tensor channels, ElementType storedAs)
    {
        var rounded = Conversion.RoundTo(Weight / channels, storedAs);
        var ratio = Weight / rounded;
        return where(ratio.isfinite() & (ratio > 0), ratio, ones_like(ratio));
    }

    /// <inheritdoc/>
    public void Divide(Tensor channels, ElementType storedAs) =>

        // g / (g / rounded) may be the neighbour of what was rounded, so it is rounded again.
        Weight.copy_(Conversion.RoundTo(Weight / channels, storedAs));
}

/// <summary>A linear layer whose rows the input's columns are.</summary>
/// <remarks>The rows are taken as they are: they are quantized themselves, and scaling a row scales its groups' scales.</remarks>
/// <param name="Layer">The layer.</param>
/// <param name="Share">How many runs of columns are copies of one run of rows: query heads that read one head of values.</param>
/// <param name="HeadSize">Columns of a run; unused where <paramref name="Share"/> is 1.</param>
internal sealed record LinearProducer(QuantizableLinear Layer, int Share = 1, int HeadSize = 1) : IChannelProducer
{
    /// <inheritdoc/>
    public Tensor Tie(Tensor columns, Func<Tensor, int, Tensor> merge) =>
        Share == 1 ? columns : merge(columns.view(-1, Share, HeadSize), 1).reshape(-1);

    /// <inheritdoc/>
    public Tensor Spread(Tensor channels) => Share == 1 ? channels : channels.view(-1, 1, HeadSize).expand(-1, Share, -1).reshape(-1);

    /// <inheritdoc/>
    public void Divide(Tensor channels, ElementType storedAs)
    {
        Layer.Weight.div_(channels.unsqueeze(1));
        Layer.Bias?.div_(channels);
    }
}
