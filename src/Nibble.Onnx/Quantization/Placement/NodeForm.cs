namespace Nibble.Onnx.Quantization.Placement;

/// <summary>What a node is to quantization.</summary>
internal enum NodeRole
{
    /// <summary>A convolution: its output must be quantized, or ONNX Runtime computes in float.</summary>
    Convolution,

    /// <summary>A product of matrices, which may also give float numbers.</summary>
    Product,

    /// <summary>Has an integer kernel that is worth using only between other integer nodes.</summary>
    Arithmetic,

    /// <summary>Only moves data: integer if its input and its output share their scale.</summary>
    Move,

    /// <summary>Belongs to the node before it: an activation that quantization makes redundant, or the addition of a bias.</summary>
    Absorbed,
}

/// <summary>How a node can compute with integers.</summary>
/// <param name="Role">What it is.</param>
/// <param name="Inputs">The positions of its inputs that are quantized activations, or constants that are quantized like activations.</param>
/// <param name="Weight">Its weight. Null if it has none.</param>
internal sealed record NodeForm(NodeRole Role, IReadOnlyList<int> Inputs, WeightForm? Weight = null);

/// <summary>The weight of a node.</summary>
/// <param name="Input">The position of the weight among the inputs.</param>
/// <param name="Axis">The axis of the weight that counts output channels.</param>
/// <param name="Bias">The position of the constant bias. Null if the node has none.</param>
internal sealed record WeightForm(int Input, int Axis, int? Bias);
