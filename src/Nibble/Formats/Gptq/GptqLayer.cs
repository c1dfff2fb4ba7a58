using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Formats.Gptq;

/// <summary>A quantized layer as the tensors of a GPTQ checkpoint.</summary>
/// <remarks>
/// Definition: ModelCloud/GPTQModel, <c>gptqmodel/nn_modules/qlinear/__init__.py</c>, <c>pack_original</c>. <c>qweight</c> I32 [words, out] holds each
/// output's codes plus 2^(bits-1) as a dense stream along the inputs. <c>qzeros</c> I32 [groups, words] holds each group's zero points plus 2^(bits-1),
/// less 1 in version 1, as a dense stream along the outputs. <c>scales</c> is [groups, out]. <c>g_idx</c> I32 [in] holds the group of each input. Some
/// tools leave it out if groups hold adjacent inputs.
/// </remarks>
internal static class GptqLayer
{
    private const string Zeros = "qzeros";
    private const string GroupIndex = "g_idx";

    /// <summary>The suffixes of a layer's tensor names.</summary>
    public static IReadOnlySet<string> Parts { get; } = new HashSet<string>(StringComparer.Ordinal) { WeightOnlyCheckpoint.Codes, Zeros, "scales", GroupIndex };

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
        yield return Tensor(Zeros, ElementType.I32, [groups, PackedWords.Count(rows, bits)],
            () => PackedWords.PackRows(PackedWords.Transpose<sbyte>(stored, rows, groups), groups, rows, bits));
        yield return Tensor("scales", ElementType.F16, [groups, rows],
            () => ElementType.F16.ToBytes(PackedWords.Transpose<float>(weight.Scales, rows, groups)));
        yield return Tensor(GroupIndex, ElementType.I32, [columns],
            () => MemoryMarshal.AsBytes(Enumerable.Range(0, columns).Select(weight.GroupOf).ToArray().AsSpan()).ToArray());

        SafetensorsTensor Tensor(string part, ElementType type, long[] shape, Func<byte[]> bytes) =>
            new($"{layer.Name}.{part}", type, shape, stream => stream.Write(bytes()));
    }

    /// <summary>Reads a layer.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="name">The layer's name.</param>
    /// <param name="config">The checkpoint's configuration.</param>
    /// <param name="version">How zero points are stored.</param>
    /// <param name="wrapped">Incremented for each zero point of 0 that version 1 stores as -1.</param>
    /// <exception cref="NibbleException">A tensor is missing, has another type or shape, or contradicts the configuration.</exception>
    public static QuantizedTensor Read(Checkpoint checkpoint, string name, GptqConfig config, GptqVersion version, ref int wrapped)
    {
        var layer = ReadStored(checkpoint, name, config);
        var (rows, columns, groups, bits) = (layer.Rows, layer.Columns, layer.Groups, layer.Scheme.Bits);
        var zeroPoints = version == GptqVersion.V1 ? AddOne(layer, config, ref wrapped) : layer.Zeros;
        var other = zeroPoints.AsSpan().IndexOfAnyExcept((sbyte)0);
        if (layer.Scheme.Symmetric is true && other >= 0)
        {
            throw new NibbleException(
                $"{checkpoint.Folder}, {name}.{Zeros}: output {other / groups}, group {other % groups} has the zero point "
                    + $"{zeroPoints[other] + (1 << (bits - 1))}, but sym says that all are {1 << (bits - 1)}.");
        }

        var index = ReadGroupIndex(checkpoint, name, layer);
        var symmetric = layer.Scheme.Symmetric ?? other < 0;
        var granularity = layer.Length is { } length ? Granularity.Group(length) : Granularity.Channel;
        var scales = WeightOnlyCheckpoint.Scales(checkpoint, $"{name}.scales", groups, rows);
        return ImportedWeight.Create(
            rows, columns, bits, granularity, layer.Codes, scales, symmetric ? [] : zeroPoints, index, $"{checkpoint.Folder}, {name}.scales");
    }

    /// <summary>Reads the stored values of a layer: codes and zero points minus 2^(bits-1), one row per output.</summary>
    /// <exception cref="NibbleException">A tensor is missing or has another type or shape.</exception>
    public static GptqTensors ReadStored(Checkpoint checkpoint, string name, GptqConfig config)
    {
        var scheme = config.SchemeOf(name);
        var (rows, columns) = Size(checkpoint, name, scheme.Bits);
        var words = WeightOnlyCheckpoint.Bytes(
            checkpoint, $"{name}.{WeightOnlyCheckpoint.Codes}", ElementType.I32, PackedWords.Count(columns, scheme.Bits), rows);
        var codes = PackedWords.UnpackColumns(words, columns, rows, scheme.Bits);
        var length = LengthOf(checkpoint, name, scheme, columns);
        var groups = length is { } size ? (columns + size - 1) / size : 1;

        // Some tools leave out zero points that are all in the middle.
        var zeros = scheme.Symmetric is true && !checkpoint.Contains($"{name}.{Zeros}") ? [] : ReadZeros();
        return new GptqTensors(scheme, rows, columns, groups, length, PackedWords.Transpose<sbyte>(codes, columns, rows), zeros);

        sbyte[] ReadZeros()
        {
            var packed = WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{Zeros}", ElementType.I32, groups, PackedWords.Count(rows, scheme.Bits));
            return PackedWords.Transpose<sbyte>(PackedWords.UnpackRows(packed, groups, rows, scheme.Bits), groups, rows);
        }
    }

    /// <summary>Converts zero points from version 1.</summary>
    private static sbyte[] AddOne(GptqTensors layer, GptqConfig config, ref int wrapped)
    {
        var (zeros, bits, rows) = (layer.Zeros, layer.Scheme.Bits, layer.Rows);
        var (mask, middle) = ((1 << bits) - 1, 1 << (bits - 1));
        var perWord = config.BorrowsFromNeighbours && 32 % bits == 0 ? 32 / bits : 1;
        var zeroPoints = new sbyte[zeros.Length];
        for (var group = 0; group < layer.Groups && zeros.Length > 0; group++)
        {
            var carry = 0;
            for (var row = 0; row < rows; row++)
            {
                // The lowest zero point of a word receives no carry. With one zero point per word, none does.
                carry = row % perWord == 0 ? 0 : carry;
                var place = (row * layer.Groups) + group;
                var sum = zeros[place] + middle + 1 + carry;
                carry = sum >> bits;
                wrapped += carry;
                zeroPoints[place] = (sbyte)((sum & mask) - middle);
            }
        }

        return zeroPoints;
    }

    private static sbyte[] Stored(QuantizedLayer layer, GptqVersion version)
    {
        var weight = layer.Weight;
        var zeroPoints = weight.Scheme.Symmetric ? new sbyte[weight.Scales.Length] : [.. weight.ZeroPoints];
        if (version == GptqVersion.V2)
        {
            return zeroPoints;
        }

        // Version 1 loaders add 1 without wrapping around, so the smallest zero point would be read as 2^bits.
        var least = weight.Scheme.Codes.Min;
        if (zeroPoints.AsSpan().IndexOf((sbyte)least) is var lost and >= 0)
        {
            throw new NibbleException(
                $"Layer {layer.Name}, output {lost / weight.GroupsPerRow}, group {lost % weight.GroupsPerRow}: the zero point is the lowest code, "
                    + $"which version 1 of the GPTQ format cannot hold, because it stores one less; write gptq-v2 instead.");
        }

        return Array.ConvertAll(zeroPoints, zeroPoint => (sbyte)(zeroPoint - 1));
    }

    private static (int Rows, int Columns) Size(Checkpoint checkpoint, string name, int bits)
    {
        var codes = checkpoint.Entry($"{name}.{WeightOnlyCheckpoint.Codes}").Shape;
        var words = codes is [>= 1 and <= int.MaxValue, >= 1 and <= int.MaxValue] ? codes[0] : 0;
        var index = checkpoint.Contains($"{name}.{GroupIndex}") ? checkpoint.Entry($"{name}.{GroupIndex}").Shape : [words * 32 / bits];
        return words > 0 && index is [>= 1 and <= int.MaxValue] && index[0] * codes[1] <= Array.MaxLength
            ? ((int)codes[1], (int)index[0])
            : throw new NibbleException(
                $"{checkpoint.Folder}, {name}: expected a matrix of 1 to {Array.MaxLength} codes, found g_idx [{string.Join(", ", index)}] and qweight "
                + $"[{string.Join(", ", codes)}].");
    }

    /// <summary>The number of columns in a group; null if all columns are one group.</summary>
    private static int? LengthOf(Checkpoint checkpoint, string name, GptqScheme scheme, int columns)
    {
        if (scheme.Group is { } size)
        {
            return size > 0 ? size : null;
        }

        var groups = checkpoint.Entry($"{name}.scales").Shape is [>= 1 and var height, _] && height <= columns ? (int)height : 1;
        return groups == 1 ? null
            : columns % groups == 0 ? columns / groups
            : throw new NibbleException($"{checkpoint.Folder}, {name}: the configuration has no group_size, and {groups} scales do not divide {columns} "
                + "columns; expected group_size in the configuration.");
    }

    /// <summary>The group of each column; null if groups hold adjacent columns and nothing says otherwise.</summary>
    private static int[]? ReadGroupIndex(Checkpoint checkpoint, string name, GptqTensors layer)
    {
        if (!checkpoint.Contains($"{name}.{GroupIndex}"))
        {
            return null;
        }

        var index = MemoryMarshal.Cast<byte, int>(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{GroupIndex}", ElementType.I32, layer.Columns)).ToArray();
        var length = layer.Length ?? layer.Columns;
        if (!(layer.Scheme.Scattered && layer.Length is not null) && index.Select((group, column) => group == column / length).All(neighbour => neighbour))
        {
            return null;
        }

        var fault = layer.Length is { } size ? QuantizedTensor.FindGroupIndexFault(index, layer.Columns, Granularity.Group(size))
            : "there are several groups, but group_size is -1";
        return fault is null ? index : throw new NibbleException($"{checkpoint.Folder}, {name}.{GroupIndex}: {fault}.");
    }
}

/// <summary>The stored values of a layer.</summary>
/// <param name="Scheme">The layer's scheme according to the checkpoint.</param>
/// <param name="Rows">Outputs.</param>
/// <param name="Columns">Inputs.</param>
/// <param name="Groups">The number of groups in a row.</param>
/// <param name="Length">The number of columns in a group; null if all columns are one group.</param>
/// <param name="Codes">Codes minus 2^(bits-1), one row per output.</param>
/// <param name="Zeros">Zero points as stored, minus 2^(bits-1), one row per output; empty if the checkpoint has none.</param>
internal sealed record GptqTensors(GptqScheme Scheme, int Rows, int Columns, int Groups, int? Length, sbyte[] Codes, sbyte[] Zeros)
{
    /// <summary>The stored zero point of each group and the mean of its codes. For scattered groups, the mean of adjacent columns.</summary>
    public IEnumerable<(int Zero, double MeanCode)> MeanCodes()
    {
        var length = Length ?? Columns;
        for (var row = 0; row < Rows; row++)
        {
            for (var group = 0; group < Groups; group++)
            {
                var (start, sum) = (group * length, 0L);
                var end = Math.Min(start + length, Columns);
                for (var column = start; column < end; column++)
                {
                    sum += Codes[(row * Columns) + column];
                }

                yield return (Zeros[(row * Groups) + group], (double)sum / (end - start));
            }
        }
    }
}
