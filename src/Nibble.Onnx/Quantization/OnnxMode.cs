namespace Nibble.Onnx.Quantization;

/// <summary>What of a graph is computed with integers.</summary>
public enum OnnxMode
{
    /// <summary>Weights and activations, with ranges from calibration data.</summary>
    Static,

    /// <summary>Weights, and the inputs of matrix products with ranges that are measured at every run. Needs no data.</summary>
    Dynamic,

    /// <summary>Weights alone. Products are computed in float, or in bytes inside of ONNX Runtime's kernel.</summary>
    Weights,

    /// <summary>The fastest of the others whose loss is within the limit.</summary>
    Auto,
}
