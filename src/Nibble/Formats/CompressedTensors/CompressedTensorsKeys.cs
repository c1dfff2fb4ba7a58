using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Formats.CompressedTensors;

/// <summary>The static parameters of a block's keys as tensors of the attention module: <c>k_scale</c> and, if asymmetric, <c>k_zero_point</c>.</summary>
/// <remarks>
/// Names: vllm-project/compressed-tensors, <c>quantization/lifecycle/initialize.py</c>, <c>initialize_attn_qparams</c>. The shape [key-value heads, 1, head
/// size] broadcasts over keys in the same way as that library's per-head scales, [key-value heads, 1, 1].
/// </remarks>
internal static class CompressedTensorsKeys
{
    /// <summary>The tensors of a block.</summary>
    public static IEnumerable<SafetensorsTensor> Tensors(KeyQuantization keys, QuantizationScheme scheme)
    {
        var shape = new long[] { keys.Heads, 1, keys.HeadSize };
        yield return CompressedTensorsLayer.Scales(ScaleName(keys.Name), scheme, shape, keys.Scales);
        if (!scheme.Symmetric)
        {
            yield return SafetensorsTensor.FromBytes(
                ZeroPointName(keys.Name), ElementType.I8, shape, MemoryMarshal.AsBytes(keys.ZeroPoints.AsSpan()).ToArray());
        }
    }

    /// <summary>Reads the parameters of a block.</summary>
    /// <exception cref="NibbleException">A tensor is missing, has another type or shape, or holds values that the scheme does not allow.</exception>
    public static KeyQuantization Read(TensorSource source, string name, QuantizationScheme scheme)
    {
        var tensor = ScaleName(name);
        if (source.Entry(tensor).Shape is not [>= 1 and <= int.MaxValue and var heads, 1, >= 1 and <= int.MaxValue and var size])
        {
            throw source.Fault(tensor, $"expected the shape [key-value heads, 1, head size], found [{string.Join(", ", source.Entry(tensor).Shape)}]");
        }

        var shape = new[] { heads, 1, size };
        var scales = CompressedTensorsLayer.ReadScales(source, tensor, scheme, shape);
        return new KeyQuantization(
            name, (int)heads, scales, scheme.Symmetric ? [] : CompressedTensorsLayer.ReadZeroPoints(source, ZeroPointName(name), scheme, shape));
    }

    private static string ScaleName(string module) => module + ".k_scale";

    private static string ZeroPointName(string module) => module + ".k_zero_point";
}
