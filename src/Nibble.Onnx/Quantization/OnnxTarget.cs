namespace Nibble.Onnx.Quantization;

/// <summary>The processors that a file is made for.</summary>
public enum OnnxTarget
{
    /// <summary>Any: weights are chosen so that no processor's sums of products saturate.</summary>
    Any,

    /// <summary>x64 with VNNI instructions, which add products in 32 bits.</summary>
    X64Vnni,

    /// <summary>Arm64, which adds products in 32 bits.</summary>
    Arm64,
}
