using Nibble.Torch.Training;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>
/// A weight that PTQ has quantized and that training leaves unchanged. A step computes neither its gradient nor its codes.
/// </summary>
internal sealed class FrozenWeight : WeightFakeQuantizer
{
    private readonly QuantizedTensor weight;
    private readonly Tensor values;

    /// <summary>Freezes a layer's weight.</summary>
    /// <param name="layer">
    /// The layer. Its weight is set to the values of the codes. If a batch normalization is folded into the layer, the values are stored separately instead.
    /// </param>
    /// <param name="weight">The codes.</param>
    public FrozenWeight(IQuantizableLayer layer, QuantizedTensor weight)
        : base(weight.Scheme, weight.Rows, weight.Columns)
    {
        using var guard = no_grad();
        this.weight = weight;
        layer.Weight.requires_grad_(false);
        values = layer.FoldedWeight;
        Conversion.CopyInto(values, weight.Dequantize());
        values.DetachFromDisposeScope();
    }

    public override Tensor Apply(Tensor tensor) => values;

    public override Tensor Clip(Tensor weight) => values;

    public override QuantizedTensor Convert(Tensor weight) => this.weight;

    public override void ChangeScheme(QuantizationScheme next, Tensor weight)
    {
        // The codes are final.
    }

    /// <exception cref="NotSupportedException">Always: the codes are final.</exception>
    public override void Restart(Tensor weight, QuantizedTensor? solution) => throw new NotSupportedException("A frozen weight cannot be restarted.");

    public override float[] Save() => [];

    public override void Load(float[] values)
    {
        // Training changes nothing here.
    }
}
