using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Formats.Gptq;

/// <summary>A quantized layer as the tensors of a GPTQ checkpoint.</summary>
/// <remarks>
/// Definition: ModelCloud/GPTQModel, <c>gptqmodel/nn_modules/qlinear/__init__.py</c>, <c>pack_original</c>. <c>qweight</c> I32 [words, out]: each output's codes, plus 2^(bits-1), as
/// a dense stream down the inputs; <c>qzeros</c> I32 [groups, words]: each group's zero points, plus 2^(bits-1) and in version 1 less 1, as a dense stream along the outputs;
/// <c>scales</c> F16 [groups, out]; <c>g_idx</c> I32 [in]: the group of each input.
/// </remarks>
internal static class GptqLayer
{
    /// <summary>The ends of the names of a layer's tensors.</summary>
    public static IReadOnlySet<string> Parts { get; } = new HashSet<string>(StringComparer.Ordinal) { WeightOnlyCheckpoint.Codes, "qzeros", "scales", "g_idx" };

    /// <summary>The tensors of a layer.</summary>
    /// <exception cref="NibbleException">Version 1 cannot hold a zero point of the layer.</exception>
    public static IEnumerable<SafetensorsTensor> Tensors(QuantizedLayer layer, GptqVersion version)
    {
        var weight = layer.Weight;
        var (rows, columns, bits) = (weight.Rows, weight.Columns, weight.Scheme.Bits);
        var groups = weight.GroupsPerRow;
        var stored = Stored(layer, version);
        yield return Tensor(WeightOnlyCheckpoint.Codes, ElementType.I32, [PackedWords.Count(columns, bits), rows],
            () => PackedWords.PackColumns(PackedWords.Transpose<sbyte>(weight.Codes, rows, columns), columns, rows, bits));
        yield return Tensor("qzeros", ElementType.I32, [groups, PackedWords.Count(rows, bits)],
            () => PackedWords.PackRows(PackedWords.Transpose<sbyte>(stored, rows, groups), groups, rows, bits));
        yield return Tensor("scales", ElementType.F16, [groups, rows],
            () => ElementType.F16.ToBytes(PackedWords.Transpose<float>(weight.Scales, rows, groups)));
        yield return Tensor("g_idx", ElementType.I32, [columns],
            () => MemoryMarshal.AsBytes(Enumerable.Range(0, columns).Select(weight.GroupOf).ToArray().AsSpan()).ToArray());

        SafetensorsTensor Tensor(string part, ElementType type, long[] shape, Func<byte[]> bytes) => new($"{layer.Name}.{part}", type, shape, stream => stream.Write(bytes()));
    }

    /// <summary>Reads a layer.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="name">The layer's name.</param>
    /// <param name="config">What the checkpoint says of itself.</param>
    /// <param name="version">How zero points are stored.</param>
    /// <exception cref="NibbleException">A tensor is missing, has another type or shape, or holds values that the scheme does not allow.</exception>
    public static QuantizedTensor Read(Checkpoint checkpoint, string name, GptqConfig config, GptqVersion version)
    {
        var (scheme, bits) = (config.Scheme, config.Scheme.Bits);
        var (rows, columns) = Size(checkpoint, name);
        var codes = PackedWords.UnpackColumns(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{WeightOnlyCheckpoint.Codes}", ElementType.I32, PackedWords.Count(columns, bits), rows), columns, rows, bits);
        var groups = QuantizedTensor.GroupCount(1, columns, scheme.Granularity);
        var zeroPoints = ReadZeros(checkpoint, name, bits, groups, rows);
        for (var i = 0; version == GptqVersion.V1 && i < zeroPoints.Length; i++)
        {
            zeroPoints[i] = zeroPoints[i] < scheme.Codes.Max
                ? (sbyte)(zeroPoints[i] + 1)
                : throw new NibbleException($"{checkpoint.Folder}, {name}.qzeros: output {i / groups}, group {i % groups} holds {(1 << bits) - 1}, which is no zero point less 1; the file mixes versions.");
        }

        if (scheme.Symmetric && zeroPoints.AsSpan().IndexOfAnyExcept((sbyte)0) is var other and >= 0)
        {
            throw new NibbleException(
                $"{checkpoint.Folder}, {name}.qzeros: output {other / groups}, group {other % groups} has the zero point {zeroPoints[other] + (1 << (bits - 1))}, but sym says that all are {1 << (bits - 1)}.");
        }

        var scales = WeightOnlyCheckpoint.Scales(checkpoint, $"{name}.scales", groups, rows);
        return new QuantizedTensor(rows, columns, scheme, PackedWords.Transpose<sbyte>(codes, columns, rows), scales, scheme.Symmetric ? [] : zeroPoints, ReadGroupIndex(checkpoint, name, columns, config));
    }

    /// <summary>The zero points of a layer as they are stored, less 2^(bits-1), one row an output.</summary>
    /// <exception cref="NibbleException">The tensor is missing or has another type or shape.</exception>
    public static sbyte[] ReadStoredZeros(Checkpoint checkpoint, string name, GptqConfig config)
    {
        var (rows, columns) = Size(checkpoint, name);
        return ReadZeros(checkpoint, name, config.Scheme.Bits, QuantizedTensor.GroupCount(1, columns, config.Scheme.Granularity), rows);
    }

    private static sbyte[] Stored(QuantizedLayer layer, GptqVersion version)
    {
        var weight = layer.Weight;
        var zeroPoints = weight.Scheme.Symmetric ? new sbyte[weight.Scales.Length] : [.. weight.ZeroPoints];
        if (version == GptqVersion.V2)
        {
            return zeroPoints;
        }

        // Loaders of version 1 add 1 without wrapping around, so that the smallest zero point would come back as 2^bits.
        var least = weight.Scheme.Codes.Min;
        if (zeroPoints.AsSpan().IndexOf((sbyte)least) is var lost and >= 0)
        {
            throw new NibbleException(
                $"The layer {layer.Name}, output {lost / weight.GroupsPerRow}, group {lost % weight.GroupsPerRow}: the zero point is 0 above the least code, which version 1 of GPTQ's format cannot hold, as it stores one less; write gptq-v2 instead.");
        }

        return Array.ConvertAll(zeroPoints, zeroPoint => (sbyte)(zeroPoint - 1));
    }

    private static (int Rows, int Columns) Size(Checkpoint checkpoint, string name)
    {
        var index = checkpoint.Entry($"{name}.g_idx").Shape;
        var codes = checkpoint.Entry($"{name}.{WeightOnlyCheckpoint.Codes}").Shape;
        return index is [>= 1 and <= int.MaxValue] && codes is [_, >= 1 and <= int.MaxValue] && index[0] * codes[1] <= Array.MaxLength
            ? ((int)codes[1], (int)index[0])
            : throw new NibbleException($"{checkpoint.Folder}, {name}: expected a matrix of 1 to {Array.MaxLength} codes, found g_idx [{string.Join(", ", index)}] and qweight [{string.Join(", ", codes)}].");
    }

    private static sbyte[] ReadZeros(Checkpoint checkpoint, string name, int bits, int groups, int rows) => PackedWords.Transpose<sbyte>(
        PackedWords.UnpackRows(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.qzeros", ElementType.I32, groups, PackedWords.Count(rows, bits)), groups, rows, bits), groups, rows);

    /// <summary>The group of each column; null where they are neighbours and nothing says that they need not be.</summary>
    private static int[]? ReadGroupIndex(Checkpoint checkpoint, string name, int columns, GptqConfig config)
    {
        var index = MemoryMarshal.Cast<byte, int>(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.g_idx", ElementType.I32, columns)).ToArray();
        var length = config.Scheme.Granularity is PerGroup { Size: var size } ? size : columns;
        if (!(config is { Scattered: true, Scheme.Granularity: PerGroup }) && index.Select((group, column) => group == column / length).All(usual => usual))
        {
            return null;
        }

        var fault = config.Scheme.Granularity is PerGroup ? QuantizedTensor.FindGroupIndexFault(index, columns, config.Scheme.Granularity) : "there are several groups, but group_size is -1";
        return fault is null ? index : throw new NibbleException($"{checkpoint.Folder}, {name}.g_idx: {fault}.");
    }
}
