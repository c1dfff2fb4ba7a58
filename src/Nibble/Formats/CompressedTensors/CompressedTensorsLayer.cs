using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Formats.CompressedTensors;

/// <summary>How compressed-tensors stores codes.</summary>
internal enum CompressedTensorsFormat
{
    /// <summary><c>pack-quantized</c>: codes packed into 32-bit words.</summary>
    PackQuantized,

    /// <summary><c>int-quantized</c>: one byte per code, for 8-bit weights and activations.</summary>
    IntQuantized,
}

/// <summary>A quantized layer as the tensors of a compressed-tensors checkpoint.</summary>
/// <remarks>
/// Definition: vllm-project/compressed-tensors, <c>compressors/pack_quantized/base.py</c> and <c>compressors/naive_quantized/base.py</c>. Codes are
/// <c>weight_packed</c> I32 [out, words] and <c>weight_shape</c> I64 [2], or <c>weight</c> I8 [out, in]. <c>weight_scale</c> is [1], [out, 1] or [out,
/// groups]. Asymmetric layers have <c>weight_zero_point</c>: I32 [words, groups], packed along the outputs. Per tensor and in <c>int-quantized</c> it is I8
/// with the scale's shape. <c>weight_g_idx</c> I32 [in] is present if groups hold scattered columns. <c>input_scale</c> and <c>input_zero_point</c> [1] are
/// present if the input is static.
/// </remarks>
internal static class CompressedTensorsLayer
{
    private static readonly long[] One = [1];

    /// <summary>The format that can hold all layers of a model.</summary>
    /// <param name="schemes">The schemes of each layer's weight and input; null if the input stays float.</param>
    public static CompressedTensorsFormat FormatFor(IEnumerable<(QuantizationScheme Weight, QuantizationScheme? Input)> schemes) =>
        schemes.All(layer => layer is { Weight.Bits: 8, Input.Bits: 8 }) ? CompressedTensorsFormat.IntQuantized : CompressedTensorsFormat.PackQuantized;

    /// <summary>The names, types and shapes of a layer's tensors, without their bytes.</summary>
    /// <param name="name">The layer's name.</param>
    /// <param name="rows">Outputs.</param>
    /// <param name="columns">Inputs.</param>
    /// <param name="weights">The weight's scheme.</param>
    /// <param name="input">The input's scheme; null if it stays float.</param>
    /// <param name="hasGroupIndex">Whether the groups hold scattered columns.</param>
    /// <param name="format">How codes are stored.</param>
    public static IEnumerable<SafetensorsTensor> Layout(
        string name, int rows, int columns, QuantizationScheme weights, QuantizationScheme? input, bool hasGroupIndex, CompressedTensorsFormat format)
    {
        ArgumentNullException.ThrowIfNull(weights);
        return Tensors(name, rows, columns, weights, input, hasGroupIndex, format,
            () => throw new InvalidOperationException($"Only the layout of layer {name} is known."));
    }

    /// <summary>The tensors of a layer.</summary>
    internal static IEnumerable<SafetensorsTensor> Tensors(QuantizedLayer layer, CompressedTensorsFormat format) =>
        Tensors(layer.Name, layer.Weight.Rows, layer.Weight.Columns, layer.Weight.Scheme, layer.Input?.Scheme, layer.Weight.GroupIndex is not null, format,
            () => layer);

    private static IEnumerable<SafetensorsTensor> Tensors(
        string name, int rows, int columns, QuantizationScheme weights, QuantizationScheme? input, bool hasGroupIndex, CompressedTensorsFormat format,
        Func<QuantizedLayer> layer)
    {
        var bits = weights.Bits;
        if (format == CompressedTensorsFormat.IntQuantized)
        {
            yield return Tensor("weight", ElementType.I8, [rows, columns], (it, stream) => stream.Write(MemoryMarshal.AsBytes(it.Weight.Codes.AsSpan())));
        }
        else
        {
            yield return Tensor("weight_packed", ElementType.I32, [rows, PackedWords.Count(columns, bits)],
                (it, stream) => stream.Write(PackedWords.PackRows(it.Weight.Codes, rows, columns, bits)));
            yield return Tensor("weight_shape", ElementType.I64, [2],
                (_, stream) => stream.Write(MemoryMarshal.AsBytes(new long[] { rows, columns }.AsSpan())));
        }

        var scaleShape = ScaleShape(weights, rows, columns);
        yield return Tensor("weight_scale", StoredAs(weights), scaleShape, (it, stream) => stream.Write(StoredAs(weights).ToBytes(it.Weight.Scales)));
        if (!weights.Symmetric)
        {
            yield return ZeroPointsArePacked(weights, format)
                ? Tensor("weight_zero_point", ElementType.I32, [PackedWords.Count(rows, bits), scaleShape[1]],
                    (it, stream) => stream.Write(PackedWords.PackColumns(it.Weight.ZeroPoints, rows, (int)scaleShape[1], bits)))
                : Tensor("weight_zero_point", ElementType.I8, scaleShape, (it, stream) => stream.Write(MemoryMarshal.AsBytes(it.Weight.ZeroPoints.AsSpan())));
        }

        if (hasGroupIndex)
        {
            yield return Tensor("weight_g_idx", ElementType.I32, [columns], (it, stream) => stream.Write(MemoryMarshal.AsBytes(it.Weight.GroupIndex.AsSpan())));
        }

        if (input is { Granularity: PerTensor })
        {
            yield return Tensor("input_scale", StoredAs(input), One, (it, stream) => stream.Write(StoredAs(input).ToBytes([it.Input!.Static!.Value.Scale])));
            if (!input.Symmetric)
            {
                yield return Tensor("input_zero_point", ElementType.I8, One, (it, stream) => stream.WriteByte((byte)(sbyte)it.Input!.Static!.Value.ZeroPoint));
            }
        }

        SafetensorsTensor Tensor(string part, ElementType type, long[] shape, Action<QuantizedLayer, Stream> write) =>
            new($"{name}.{part}", type, shape, stream => write(layer(), stream));
    }

    /// <summary>Reads a layer.</summary>
    /// <param name="source">The file.</param>
    /// <param name="name">The layer's name.</param>
    /// <param name="weights">The weight's scheme.</param>
    /// <param name="input">The input's scheme; null if it stays float.</param>
    /// <param name="format">How the file stores codes.</param>
    /// <param name="hasGroupIndex">Whether the groups hold scattered columns.</param>
    /// <exception cref="NibbleException">A tensor is missing, has another type or shape, or holds values that the scheme does not allow.</exception>
    internal static QuantizedLayer Read(
        TensorSource source, string name, QuantizationScheme weights, QuantizationScheme? input, CompressedTensorsFormat format, bool hasGroupIndex)
    {
        var (rows, columns, codes) = ReadCodes(source, name, weights.Bits, format);
        if (codes.AsSpan().IndexOfAnyExceptInRange((sbyte)weights.Codes.Min, (sbyte)weights.Codes.Max) is var outside and >= 0)
        {
            throw source.Fault(name,
                $"row {outside / columns}, column {outside % columns} has code {codes[outside]}; {weights} allows {weights.Codes.Min} to {weights.Codes.Max}");
        }

        var scaleShape = ScaleShape(weights, rows, columns);
        var scales = ReadScales(source, $"{name}.weight_scale", weights, scaleShape);
        var zeroPoints = weights.Symmetric ? []
            : ZeroPointsArePacked(weights, format)
                ? PackedWords.UnpackColumns(
                    source.Bytes($"{name}.weight_zero_point", ElementType.I32, [PackedWords.Count(rows, weights.Bits), scaleShape[1]]), rows,
                    (int)scaleShape[1], weights.Bits)
                : ReadZeroPoints(source, $"{name}.weight_zero_point", weights, scaleShape);
        var weight = new QuantizedTensor(
            rows, columns, weights, codes, scales, zeroPoints,
            hasGroupIndex ? ReadGroupIndex(source, $"{name}.weight_g_idx", columns, weights.Granularity) : null);
        return new QuantizedLayer(name, weight, input is null ? null : ReadInput(source, name, input));
    }

    /// <summary>Reads the size of a layer's weight, without its codes.</summary>
    internal static (int Rows, int Columns) ReadSize(TensorSource source, string name, CompressedTensorsFormat format) =>
        format == CompressedTensorsFormat.IntQuantized
            ? Size(source, $"{name}.weight", source.Entry($"{name}.weight").Shape)
            : Size(
                source, $"{name}.weight_shape",
                MemoryMarshal.Cast<byte, long>(source.Bytes($"{name}.weight_shape", ElementType.I64, [2])).ToArray());

    private static (int Rows, int Columns, sbyte[] Codes) ReadCodes(TensorSource source, string name, int bits, CompressedTensorsFormat format)
    {
        var (rows, columns) = ReadSize(source, name, format);
        if (format == CompressedTensorsFormat.IntQuantized)
        {
            return (rows, columns, Signed(source.Bytes($"{name}.weight", ElementType.I8, [rows, columns])));
        }

        var packed = source.Bytes($"{name}.weight_packed", ElementType.I32, [rows, PackedWords.Count(columns, bits)]);
        return (rows, columns, PackedWords.UnpackRows(packed, rows, columns, bits));
    }

    private static (int Rows, int Columns) Size(TensorSource source, string tensor, IReadOnlyList<long> shape) =>
        shape is [>= 1 and <= int.MaxValue, >= 1 and <= int.MaxValue] && shape[0] * shape[1] <= Array.MaxLength
            ? ((int)shape[0], (int)shape[1])
            : throw source.Fault(tensor, $"expected a matrix of 1 to {Array.MaxLength} codes, found [{string.Join(", ", shape)}]");

    private static int[] ReadGroupIndex(TensorSource source, string tensor, int columns, Granularity granularity)
    {
        var groups = MemoryMarshal.Cast<byte, int>(source.Bytes(tensor, ElementType.I32, [columns])).ToArray();
        return QuantizedTensor.FindGroupIndexFault(groups, columns, granularity) is { } fault ? throw source.Fault(tensor, fault) : groups;
    }

    private static ActivationQuantization ReadInput(TensorSource source, string name, QuantizationScheme scheme)
    {
        if (scheme.Granularity is PerToken)
        {
            return new ActivationQuantization(scheme, Static: null);
        }

        var scale = ReadScales(source, $"{name}.input_scale", scheme, One)[0];
        var zeroPoint = scheme.Symmetric ? (sbyte)0 : ReadZeroPoints(source, $"{name}.input_zero_point", scheme, One)[0];
        return new ActivationQuantization(scheme, new QuantizationParameters(scale, zeroPoint));
    }

    internal static SafetensorsTensor Scales(string name, QuantizationScheme scheme, long[] shape, float[] scales) =>
        SafetensorsTensor.FromFloats(name, StoredAs(scheme), shape, scales);

    internal static float[] ReadScales(TensorSource source, string tensor, QuantizationScheme scheme, long[] shape)
    {
        var scales = source.Floats(tensor, StoredAs(scheme), shape);
        var fault = Array.FindIndex(scales, scale => !(float.IsFinite(scale) && scale > 0));
        return fault < 0 ? scales : throw source.Fault(tensor, $"scale {fault} is {scales[fault]}; expected a positive number");
    }

    internal static sbyte[] ReadZeroPoints(TensorSource source, string tensor, QuantizationScheme scheme, long[] shape)
    {
        var zeroPoints = Signed(source.Bytes(tensor, ElementType.I8, shape));
        return zeroPoints.AsSpan().IndexOfAnyExceptInRange((sbyte)scheme.Codes.Min, (sbyte)scheme.Codes.Max) is var outside and >= 0
            ? throw source.Fault(tensor, $"zero point {outside} is {zeroPoints[outside]}; {scheme} allows {scheme.Codes.Min} to {scheme.Codes.Max}")
            : zeroPoints;
    }

    private static long[] ScaleShape(QuantizationScheme scheme, int rows, int columns) =>
        scheme.Granularity is PerTensor ? One : [rows, QuantizedTensor.GroupCount(1, columns, scheme.Granularity)];

    private static bool ZeroPointsArePacked(QuantizationScheme scheme, CompressedTensorsFormat format) =>
        format == CompressedTensorsFormat.PackQuantized && scheme.Granularity is not PerTensor;

    private static ElementType StoredAs(QuantizationScheme scheme) => scheme.ScalePrecision == ScalePrecision.Float16 ? ElementType.F16 : ElementType.F32;

    private static sbyte[] Signed(byte[] bytes) => MemoryMarshal.Cast<byte, sbyte>(bytes).ToArray();
}
