using Nibble.Numerics;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>Rearranges a weight matrix so that each row holds the values that share a scale, and back.</summary>
/// <remarks>
/// An incomplete last group is padded with zeros. They widen no range, because every range includes zero, and they have no gradient.
/// </remarks>
internal sealed class WeightGroups
{
    private readonly int rows;
    private readonly int columns;
    private readonly int padding;

    public WeightGroups(int rows, int columns, Granularity granularity)
    {
        this.rows = rows;
        this.columns = columns;
        Count = QuantizedTensor.GroupCount(rows, columns, granularity);
        Length = granularity is PerGroup group ? Math.Min(group.Size, columns) : rows * columns / Count;
        padding = granularity is PerGroup ? (Length - (columns % Length)) % Length : 0;
    }

    /// <summary>The number of groups in the matrix.</summary>
    public int Count { get; }

    /// <summary>The number of values per group, padding included.</summary>
    public int Length { get; }

    /// <summary>The number of values in each group without padding, [groups, 1], or [1] if it is the same for all.</summary>
    public Tensor Counts
    {
        get
        {
            if (padding == 0)
            {
                return tensor([(long)Length]);
            }

            var counts = Split(ones(rows, columns));
            return counts.sum([1L], keepdim: true);
        }
    }

    /// <summary>[out, ...] to [groups, values].</summary>
    public Tensor Split(Tensor weight) => (padding == 0 ? weight : F.pad(weight.reshape(rows, columns), (0, padding))).reshape(Count, Length);

    /// <summary>[groups, values] to [out, in].</summary>
    public Tensor Join(Tensor groups)
    {
        var padded = groups.reshape(rows, columns + padding);
        return padding == 0 ? padded : padded.narrow(1, 0, columns);
    }
}
