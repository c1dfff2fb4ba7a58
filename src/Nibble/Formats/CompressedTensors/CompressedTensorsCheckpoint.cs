using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Numerics;

namespace Nibble.Formats.CompressedTensors;

/// <summary>Reads compressed-tensors checkpoints written by other tools, for example llm-compressor.</summary>
/// <remarks>
/// Definition: vllm-project/compressed-tensors, <c>compressors/pack_quantized</c> and <c>compressors/naive_quantized</c>, in all versions. Zero points were
/// stored as bytes before they were packed (April 2025), and left out when all were zero. Words held only whole codes before 3, 5, 6 and 7 bits were packed
/// without gaps (May 2026). A group index with a negative entry is ignored.
/// </remarks>
internal static class CompressedTensorsCheckpoint
{
    private const string Packed = "weight_packed";
    private const string Plain = "weight";
    private const string Scale = "weight_scale";
    private const string ZeroPoint = "weight_zero_point";
    private const string GroupIndex = "weight_g_idx";
    private const string StoredShape = "weight_shape";
    private const string InputScale = "input_scale";
    private const string InputZeroPoint = "input_zero_point";

    private static readonly string[] Parts = [Packed, StoredShape, Scale, ZeroPoint, GroupIndex, InputScale, InputZeroPoint];
    private static readonly string[] Foreign = ["weight_global_scale", "input_global_scale", "output_scale", "output_zero_point"];

    /// <summary>Reads a checkpoint.</summary>
    /// <exception cref="NibbleException">A file is missing or broken, or the checkpoint uses an unsupported feature.</exception>
    public static QuantizedModel Load(string folder, QuantizationConfigReader configuration)
    {
        var config = CompressedTensorsGroups.Read(configuration);
        using var checkpoint = Checkpoint.Open(folder, anyName: true);
        var layers = new List<QuantizedLayer>();
        var own = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in checkpoint.TensorsInOrder.Where(name => name.EndsWith("." + Scale, StringComparison.Ordinal))
            .Select(name => name[..^(Scale.Length + 1)]))
        {
            if (Foreign.FirstOrDefault(part => checkpoint.Contains($"{name}.{part}")) is { } foreign)
            {
                throw new NibbleException($"{folder}, {name}: the layer has {foreign}, which only float formats and quantized outputs use; expected "
                    + "integer weights and inputs.");
            }

            var reader = new Reader(checkpoint, name, config.Find(name));
            layers.Add(reader.Read());
            own.UnionWith(Parts.Select(part => $"{name}.{part}"));
            own.Add(reader.IsPacked ? $"{name}.{Packed}" : $"{name}.{Plain}");
        }

        return layers.Count > 0
            ? WeightOnlyCheckpoint.Join(checkpoint, QuantizationConfigReader.CompressedTensors, layers, own)
            : throw new NibbleException($"{folder}: no tensor's name ends in .{Scale}, expected the tensors of a compressed-tensors checkpoint.");
    }

    private sealed class Reader(Checkpoint checkpoint, string name, CompressedTensorsGroup group)
    {
        public bool IsPacked { get; } = checkpoint.Contains($"{name}.{Packed}");

        public QuantizedLayer Read()
        {
            var (rows, columns, codes) = IsPacked ? ReadPacked() : ReadPlain();
            var groups = QuantizedTensor.GroupCount(1, columns, group.Granularity);
            var count = group.Granularity is PerTensor ? 1 : rows * groups;
            var scales = ReadScales(Scale, count);
            var zeroPoints = ReadZeroPoints(rows, groups, count);
            if (group.Symmetric && zeroPoints.AsSpan().IndexOfAnyExcept((sbyte)0) >= 0)
            {
                throw Fault(ZeroPoint, "contains zero points other than 0, but the configuration says that the weights are symmetric");
            }

            zeroPoints = group.Symmetric ? [] : zeroPoints;
            return new QuantizedLayer(
                name,
                ImportedWeight.Create(rows, columns, group.Bits, group.Granularity, codes, scales, zeroPoints, ReadGroupIndex(columns), Name(Scale)),
                group.Input is { } input ? ReadInput(input) : null);
        }

        private string Name(string part) => $"{checkpoint.Folder}, {name}.{part}";

        private NibbleException Fault(string part, string message) => new($"{Name(part)}: {message}.");

        private (int Rows, int Columns, sbyte[] Codes) ReadPlain()
        {
            var entry = checkpoint.Entry($"{name}.{Plain}");
            if (entry.ElementType.IsFloatingPoint())
            {
                throw Fault(Plain, $"the weight is {entry.ElementType} next to its scales. It was saved before it was compressed (quantization_status "
                    + "frozen), so there are no codes to read. Save it compressed");
            }

            var (rows, columns) = Size(Plain, entry.Shape);
            var codes = MemoryMarshal.Cast<byte, sbyte>(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{Plain}", ElementType.I8, rows, columns)).ToArray();
            var top = 1 << (group.Bits - 1);
            return codes.AsSpan().IndexOfAnyExceptInRange((sbyte)-top, (sbyte)(top - 1)) is var outside and >= 0
                ? throw Fault(Plain, $"row {outside / columns}, column {outside % columns} has code {codes[outside]}; {group.Bits} bits allow {-top} to "
                    + $"{top - 1}")
                : (rows, columns, codes);
        }

        private (int Rows, int Columns, sbyte[] Codes) ReadPacked()
        {
            var words = checkpoint.Entry($"{name}.{Packed}").Shape;
            var (rows, columns) = Size(
                StoredShape, checkpoint.Contains($"{name}.{StoredShape}") ? ReadShape() : [words[0], words.Count > 1 ? words[1] * 32 / group.Bits : 0]);
            var bytes = WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{Packed}", ElementType.I32, rows, words.Count > 1 ? words[1] : 0);
            return (rows, columns, Unpack(Packed, bytes, rows, columns));
        }

        private long[] ReadShape()
        {
            var entry = checkpoint.Entry($"{name}.{StoredShape}");
            var isShort = entry.ElementType == ElementType.I32;
            var bytes = WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{StoredShape}", isShort ? ElementType.I32 : ElementType.I64, 2);
            return isShort
                ? [.. MemoryMarshal.Cast<byte, int>(bytes).ToArray().Select(size => (long)size)]
                : MemoryMarshal.Cast<byte, long>(bytes).ToArray();
        }

        private (int Rows, int Columns) Size(string part, IReadOnlyList<long> shape) =>
            shape is [>= 1 and <= int.MaxValue, >= 1 and <= int.MaxValue] && (Int128)shape[0] * shape[1] <= Array.MaxLength
                ? ((int)shape[0], (int)shape[1])
                : throw Fault(part, $"expected a matrix of 1 to {Array.MaxLength} codes, found [{string.Join(", ", shape)}]");

        /// <summary>Unpacks rows of words, each of which holds one row of codes.</summary>
        private sbyte[] Unpack(string part, byte[] words, int rows, int columns)
        {
            var width = words.Length / sizeof(int) / rows;
            var (dense, loose) = (PackedWords.Count(columns, group.Bits), PackedWords.LooseCount(columns, group.Bits));
            if (width != dense && width != loose)
            {
                throw Fault(part, $"{width} words hold {columns} codes of {group.Bits} bits, expected "
                    + $"{dense}{(dense == loose ? string.Empty : $", or {loose} in files from before May 2026")}");
            }

            // Small matrices need the same number of words in either layout. The bits that the older layout leaves empty tell them apart.
            return width == loose && (width != dense || PackedWords.IsLoose(words, group.Bits))
                ? PackedWords.UnpackLooseRows(words, rows, columns, group.Bits)
                : PackedWords.UnpackRows(words, rows, columns, group.Bits);
        }

        private float[] ReadScales(string part, int count)
        {
            var entry = checkpoint.Entry($"{name}.{part}");
            return entry.ElementType.IsFloatingPoint() && entry.Count == count
                ? checkpoint.ReadFloats($"{name}.{part}")
                : throw Fault(part, $"expected {count} floats, found {entry.ElementType} [{string.Join(", ", entry.Shape)}]");
        }

        /// <summary>The zero points, one row per output; all zero if there is no tensor.</summary>
        private sbyte[] ReadZeroPoints(int rows, int groups, int count)
        {
            if (!checkpoint.Contains($"{name}.{ZeroPoint}"))
            {
                return new sbyte[count];
            }

            var entry = checkpoint.Entry($"{name}.{ZeroPoint}");
            if (entry.ElementType == ElementType.I8 && entry.Count == count)
            {
                return Bytes(ZeroPoint, entry.Shape);
            }

            if (entry.ElementType == ElementType.I32 && entry.Shape is [>= 1 and <= int.MaxValue and var height, var width]
                && width == groups && group.Granularity is not PerTensor)
            {
                var bytes = WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{ZeroPoint}", ElementType.I32, height, width);
                var words = PackedWords.Transpose<int>(MemoryMarshal.Cast<byte, int>(bytes), (int)height, groups);
                return PackedWords.Transpose<sbyte>(Unpack(ZeroPoint, MemoryMarshal.AsBytes(words.AsSpan()).ToArray(), groups, rows), groups, rows);
            }

            throw Fault(ZeroPoint, $"expected {count} zero points as I8, or as I32 [{PackedWords.Count(rows, group.Bits)}, {groups}], found "
                + $"{entry.ElementType} [{string.Join(", ", entry.Shape)}]");
        }

        private sbyte[] Bytes(string part, IReadOnlyList<long> shape) =>
            MemoryMarshal.Cast<byte, sbyte>(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{part}", ElementType.I8, [.. shape])).ToArray();

        private int[]? ReadGroupIndex(int columns)
        {
            if (!checkpoint.Contains($"{name}.{GroupIndex}"))
            {
                return null;
            }

            var index = MemoryMarshal.Cast<byte, int>(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{GroupIndex}", ElementType.I32, columns)).ToArray();
            return Array.Exists(index, column => column < 0) ? null
                : QuantizedTensor.FindGroupIndexFault(index, columns, group.Granularity) is { } fault ? throw Fault(GroupIndex, fault)
                : index;
        }

        private ActivationQuantization ReadInput(QuantizationScheme scheme)
        {
            if (scheme.Granularity is PerToken)
            {
                return new ActivationQuantization(scheme, Static: null);
            }

            var scale = ReadScales(InputScale, 1)[0];
            var zeroPoint = checkpoint.Contains($"{name}.{InputZeroPoint}") ? Bytes(InputZeroPoint, checkpoint.Entry($"{name}.{InputZeroPoint}").Shape) : [0];
            if (zeroPoint is not [var zero] || (scheme.Symmetric && zero != 0) || zero < scheme.Codes.Min || zero > scheme.Codes.Max)
            {
                throw Fault(InputZeroPoint, $"holds [{string.Join(", ", zeroPoint)}], expected one zero point of {scheme}");
            }

            // Input scales may have any width here. The artifact stores them in the narrowest type that represents them exactly.
            var precision = (float)(Half)scale == scale && scale >= QuantizationParameters.MinScale(ScalePrecision.Float16)
                ? ScalePrecision.Float16 : ScalePrecision.Float32;
            return float.IsFinite(scale) && scale >= QuantizationParameters.MinScale(precision)
                ? new ActivationQuantization(scheme with { ScalePrecision = precision }, new QuantizationParameters(scale, zero))
                : throw Fault(InputScale, $"is {scale}, expected a positive number");
        }
    }
}
