using static TorchSharp.torch;

namespace Nibble.Torch.Layers;

/// <summary>Consecutive rows of a linear layer.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="First">The first row.</param>
/// <param name="Count">The number of rows.</param>
internal readonly record struct LinearRows(QuantizableLinear Layer, int First, int Count)
{
    /// <summary>All rows of a layer.</summary>
    public LinearRows(QuantizableLinear layer)
        : this(layer, 0, layer.OutFeatures)
    {
    }

    /// <summary>The rows' weights, a view.</summary>
    public Tensor Weight => Layer.Weight.narrow(0, First, Count);

    /// <summary>The rows' biases, a view. Null if the layer has none.</summary>
    public Tensor? Bias => Layer.Bias?.narrow(0, First, Count);

    /// <summary>The rows' outputs.</summary>
    public Tensor Forward(Tensor x) => Count == Layer.OutFeatures ? Layer.forward(x) : Layer.forward(x).narrow(-1, First, Count);
}
