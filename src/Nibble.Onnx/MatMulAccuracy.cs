namespace Nibble.Onnx;

/// <summary>The arithmetic of <c>MatMulNBits</c>. The values are those of its attribute <c>accuracy_level</c>.</summary>
public enum MatMulAccuracy
{
    /// <summary>Inputs in float32, as in the simulation.</summary>
    Float32 = 1,

    /// <summary>Inputs rounded to 8 bits in blocks. This is faster but differs more from the simulation, because no scheme of Nibble simulates it.</summary>
    Int8 = 4,
}
