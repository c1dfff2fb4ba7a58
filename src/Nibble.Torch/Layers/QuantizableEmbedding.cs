using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>A table of vectors, one a row, whose values can be quantized without replacing the module. It looks rows up, so its input is never
/// quantized.</summary>
public sealed class QuantizableEmbedding : nn.Module<Tensor, Tensor>, IQuantizableLayer
{
    // TorchSharp registers parameters under the names of their fields.
    private readonly Parameter weight;

    /// <summary>Creates a layer around a table, which it keeps and does not copy.</summary>
    /// <param name="weight">[entries, length of a vector].</param>
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

    /// <summary>Unused: indices are not quantized.</summary>
    public ITensorQuantizer? InputQuantizer { get; set; }

    /// <summary>Looks indices up.</summary>
    /// <param name="input">Whole numbers of any shape.</param>
    /// <returns>The shape of <paramref name="input"/> with the length of a vector as its last axis.</returns>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var table = WeightQuantizer?.Apply(weight) ?? weight;
        return table.index_select(0, input.reshape(-1).to(int64)).reshape([.. input.shape, weight.shape[1]]).MoveToOuterDisposeScope();
    }
}
