using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>
/// An embedding table, one vector per row, whose values can be quantized. The layer looks up rows, so its input is never quantized.
/// </summary>
public sealed class QuantizableEmbedding : nn.Module<Tensor, Tensor>, IQuantizableLayer
{
    // TorchSharp registers parameters under the names of their fields.
    private readonly Parameter weight;

    /// <summary>Creates a layer that uses a table without copying it.</summary>
    /// <param name="weight">The table, [entries, vector length].</param>
    public QuantizableEmbedding(Parameter weight)
        : base(nameof(QuantizableEmbedding))
    {
        this.weight = weight;
        RegisterComponents();
    }

    /// <inheritdoc/>
    public Parameter Weight => weight;

    /// <inheritdoc/>
    public ITensorQuantizer? WeightQuantizer { get; set; }

    /// <summary>Unused, because indices are not quantized.</summary>
    public ITensorQuantizer? InputQuantizer { get; set; }

    /// <summary>Looks up indices.</summary>
    /// <param name="input">Indices of any shape, whole numbers.</param>
    /// <returns>The shape of <paramref name="input"/> with the vector length as an additional last axis.</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var table = WeightQuantizer?.Apply(weight) ?? weight;
        return table.index_select(0, input.reshape(-1).to(int64)).reshape([.. input.shape, weight.shape[1]]).MoveToOuterDisposeScope();
    }
}
