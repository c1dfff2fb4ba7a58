namespace Nibble.Onnx;

/// <summary>What <c>MatMulNBits</c> computes with; the numbers are those of its attribute <c>accuracy_level</c>.</summary>
public enum MatMulAccuracy
{
    /// <summary>Inputs in float32, as the simulation has them.</summary>
    Float32 = 1,

    /// <summary>Inputs rounded to 8 bits in blocks, as no scheme of Nibble's simulates: faster, and further from the simulation.</summary>
    Int8 = 4,
}
