using Nibble.Files;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>
/// The module that produces a stage's input. Its output is linear in each channel, so that it can produce <c>x / s</c> if the layers that read it compute
/// with <c>W diag(s)</c>.
/// </summary>
public interface IChannelProducer
{
    /// <summary>The name, inside the block, of the parameter whose stored type limits the possible factors. Null if there is no such limit.</summary>
    string? Stored => null;

    /// <summary>Merges a statistic of the input's columns, [columns], into one value per independent channel.</summary>
    /// <param name="columns">One value per column.</param>
    /// <param name="merge">Merges several values into one along the given axis.</param>
    Tensor Tie(Tensor columns, Func<Tensor, int, Tensor> merge) => columns;

    /// <summary>Expands one factor per channel to one per column. This is the inverse of <see cref="Tie"/>.</summary>
    Tensor Spread(Tensor channels) => channels;

    /// <summary>The factors closest to the wanted ones that the checkpoint can store exactly.</summary>
    /// <param name="channels">The wanted factors.</param>
    /// <param name="storedAs">The type of <see cref="Stored"/>.</param>
    Tensor Realize(Tensor channels, ElementType storedAs) => channels;

    /// <summary>Divides the module's output by the factors.</summary>
    /// <param name="channels">The factors that <see cref="Realize"/> returned.</param>
    /// <param name="storedAs">The type of <see cref="Stored"/>.</param>
    void Divide(Tensor channels, ElementType storedAs);
}

/// <summary>A norm whose output is read only by this stage.</summary>
/// <param name="Stored">The name of its weight inside the block.</param>
/// <param name="Weight">Its weight.</param>
/// <param name="Offset">What the norm adds to the weight to get the channel's factor.</param>
internal sealed record NormProducer(string Stored, Parameter Weight, float Offset = 0) : IChannelProducer
{
    /// <inheritdoc/>
    /// <remarks>
    /// Most checkpoints store a norm's weight g in 16 bits. Therefore g / s is rounded first, and s becomes g divided by the rounded value. The factor stays 1
    /// if the weight is 0 (a dead channel) or if the quotient would underflow or overflow.
    /// </remarks>
    public Tensor Realize(Tensor channels, ElementType storedAs)
    {
        var factors = Shifted(Weight, Offset);
        var ratio = factors / Shifted(Rounded(channels, storedAs), Offset);
        return where(ratio.isfinite() & ratio.GreaterThan(0), ratio, ones_like(ratio));
    }

    /// <inheritdoc/>
    public void Divide(Tensor channels, ElementType storedAs) =>

        // g / (g / rounded) may be the neighbour of the rounded value, so it is rounded again.
        Weight.copy_(Rounded(channels, storedAs));

    private Tensor Rounded(Tensor channels, ElementType storedAs) =>
        Conversion.RoundTo(Shifted(Shifted(Weight, Offset) / channels, -Offset), storedAs);

    private static Tensor Shifted(Tensor x, float offset) => offset == 0 ? x : x.Plus(offset);
}

/// <summary>Rows of a linear layer whose outputs are the input's columns.</summary>
/// <remarks>The rows are used without rounding. They are quantized themselves, and scaling a row scales the scales of its groups.</remarks>
/// <param name="Rows">The rows.</param>
/// <param name="Share">How many runs of columns are copies of one run of rows, when several query heads share one value head.</param>
/// <param name="HeadSize">Columns per run. Unused if <paramref name="Share"/> is 1.</param>
internal sealed record LinearProducer(LinearRows Rows, int Share = 1, int HeadSize = 1) : IChannelProducer
{
    /// <inheritdoc/>
    public Tensor Tie(Tensor columns, Func<Tensor, int, Tensor> merge) =>
        Share == 1 ? columns : merge(columns.view(-1, Share, HeadSize), 1).reshape(-1);

    /// <inheritdoc/>
    public Tensor Spread(Tensor channels) => Share == 1 ? channels : channels.view(-1, 1, HeadSize).expand(-1, Share, -1).reshape(-1);

    /// <inheritdoc/>
    public void Divide(Tensor channels, ElementType storedAs)
    {
        Rows.Weight.div_(channels.unsqueeze(1));
        Rows.Bias?.div_(channels);
    }
}
