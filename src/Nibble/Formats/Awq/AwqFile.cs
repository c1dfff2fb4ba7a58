using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Formats.Awq;

/// <summary>Quantized models as AWQ checkpoints. Writes the GEMM version, which AutoAWQ, vLLM and transformers load. Reads GEMM and GEMV.</summary>
/// <remarks>
/// Definition: casper-hansen/AutoAWQ, <c>awq/modules/linear/gemm.py</c>, <c>gemv.py</c> and <c>awq/utils/packing_utils.py</c>. GEMM: <c>qweight</c> is I32
/// [in, out / 8]. Each word holds eight 4-bit codes plus 8: bits <c>4 i</c> hold output <c>8 w + [0, 2, 4, 6, 1, 3, 5, 7][i]</c>. <c>qzeros</c> is I32
/// [groups, out / 8] in the same layout. <c>scales</c> is [groups, out]. GEMV: <c>qweight</c> is I32 [out, in / 8] with the inputs in order. <c>qzeros</c>
/// is I32 [out, words] and <c>scales</c> is [out, 8 words], both with padded rows.
/// </remarks>
internal static class AwqFile
{
    private const string Method = QuantizationConfigReader.Awq;
    private const int Bits = 4;
    private const int Offset = 8;
    private const string Zeros = "qzeros";
    private const int CodesPerWord = 8;

    /// <summary>For each nibble of a word, which of the word's eight outputs it holds.</summary>
    private static readonly int[] Order = [0, 2, 4, 6, 1, 3, 5, 7];
    private static readonly int[] InOrder = [0, 1, 2, 3, 4, 5, 6, 7];

    private static readonly HashSet<string> Parts = new(StringComparer.Ordinal) { WeightOnlyCheckpoint.Codes, Zeros, "scales" };

    /// <summary>Writes a model without changing its codes, scales or zero points. Equal models give equal bytes. The folder appears only when it is
    /// complete.</summary>
    /// <param name="model">The model. All weights share one scheme: 4 bits in groups that divide the rows, with binary16 scales. The number of outputs is a
    /// multiple of 8. Inputs are float.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="progress">Receives a report after each tensor.</param>
    /// <param name="cancellation">Cancels between tensors and leaves nothing of the folder.</param>
    /// <exception cref="NibbleException">The format cannot hold the model, or the folder already exists.</exception>
    public static void Save(
        QuantizedModel model, string folder, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        var scheme = WeightOnlyCheckpoint.SchemeOf(model, "AWQ");
        if (scheme is not { Bits: Bits, Granularity: PerGroup { Size: var group } })
        {
            throw new NibbleException($"AWQ cannot hold {scheme} weights, expected 4 bits in groups, such as w4a16-g128.");
        }

        foreach (var layer in model.Layers)
        {
            Require(layer.Weight.Columns % group == 0, layer,
                $"rows of {layer.Weight.Columns} columns, which is not a multiple of the group size {group}; keep it float, or choose another group size");
            Require(layer.Weight.Rows % CodesPerWord == 0, layer, $"{layer.Weight.Rows} outputs, expected a multiple of {CodesPerWord}; keep it float");
            Require(layer.Weight.GroupIndex is null, layer, "groups of scattered columns, expected adjacent ones; quantize with activationOrder: weight");
        }

        SafetensorsTensor[] tensors = [.. model.Layers.SelectMany(Tensors), .. WeightOnlyCheckpoint.FloatTensors(model)];
        CheckpointFolder.Create(folder, model.TokenizerFolder, temporary =>
        {
            SafetensorsWriter.Write(
                Path.Combine(temporary, Checkpoint.WeightsName), WriteProgress.Track(tensors, "write", progress, cancellation), CheckpointFolder.Metadata);
            CheckpointFolder.WriteConfig(temporary, model.ConfigJson, (writer, _) => WriteConfig(writer, model, group));
        });

        static void Require(bool holds, QuantizedLayer layer, string fault)
        {
            if (!holds)
            {
                throw new NibbleException($"AWQ cannot hold the layer {layer.Name}: it has {fault}.");
            }
        }
    }

    /// <summary>Reads a checkpoint.</summary>
    /// <exception cref="NibbleException">A file is missing or broken, or the checkpoint is not an AWQ checkpoint of 4-bit weights.</exception>
    public static QuantizedModel Load(string folder) => Load(folder, QuantizationConfigReader.Find(folder)
        ?? throw new NibbleException($"{folder}: {Checkpoint.ConfigName} has no {Checkpoint.QuantizationKey}, and there is no quant_config.json next to it; "
            + "expected an AWQ checkpoint."));

    /// <summary>Reads a checkpoint whose configuration is already read.</summary>
    internal static QuantizedModel Load(string folder, QuantizationConfigReader config)
    {
        if (config.Method() is not Method)
        {
            throw config.Fault("quant_method", $"is {config.Method()}, expected {Method}");
        }

        var version = config.First("version", "checkpoint_format", "format");
        if (config.Text("backend") is "llm-awq" || config.Text(version)?.ToLowerInvariant() is not (null or "gemm" or "gemv" or "exllama" or "ipex"))
        {
            var found = (config.Text(version) ?? "missing") + (config.Has("backend") ? $" of {config.Text("backend")}" : string.Empty);
            throw config.Fault(version, $"is {found}, whose tensor layout is specific to one engine's kernels; expected gemm or gemv");
        }

        config.WholeNumber(config.First("bits", "w_bit"), bits => bits == Bits, "4");
        var group = config.WholeNumber(config.First("group_size", "q_group_size"), size => size is -1 or > 0, "-1 or a number above 0");
        var symmetric = config.Flag("zero_point") is false;
        var rowWise = config.Text(version)?.ToLowerInvariant() is "gemv";
        using var checkpoint = Checkpoint.Open(folder, anyName: true);
        return WeightOnlyCheckpoint.Read(
            checkpoint, Method, name => rowWise ? ReadRowWise(checkpoint, name, group) : Read(checkpoint, name, group, symmetric), Parts);
    }

    /// <summary>Writes the value of <c>quantization_config</c>.</summary>
    /// <remarks>AutoAWQ, transformers and vLLM match these entries as parts of layer names. Newer versions of vLLM also match them with fused
    /// layers.</remarks>
    private static void WriteConfig(Utf8JsonWriter writer, QuantizedModel model, int group)
    {
        writer.WriteStartObject();
        writer.WriteString("quant_method", Method);
        writer.WriteString("version", "gemm");
        writer.WriteNumber("bits", Bits);
        writer.WriteNumber("group_size", group);
        writer.WriteBoolean("zero_point", true);
        writer.WriteBoolean("lm_head", model.Layers.Any(layer => layer.Name == WeightOnlyCheckpoint.Head));
        var floatModules = FusedLayers.AddTo(WeightOnlyCheckpoint.FloatModules(model));
        if (floatModules.Count == 0)
        {
            writer.WriteNull("modules_to_not_convert");
        }
        else
        {
            writer.WriteStartArray("modules_to_not_convert");
            foreach (var module in floatModules)
            {
                writer.WriteStringValue(module);
            }

            writer.WriteEndArray();
        }

        writer.WriteEndObject();
    }

    private static IEnumerable<SafetensorsTensor> Tensors(QuantizedLayer layer)
    {
        var weight = layer.Weight;
        var (rows, columns, groups) = (weight.Rows, weight.Columns, weight.GroupsPerRow);
        yield return Tensor(WeightOnlyCheckpoint.Codes, ElementType.I32, [columns, rows / CodesPerWord],
            () => Pack(PackedWords.Transpose<sbyte>(weight.Codes, rows, columns)));
        yield return Tensor(Zeros, ElementType.I32, [groups, rows / CodesPerWord],
            () => Pack(PackedWords.Transpose<sbyte>(weight.Scheme.Symmetric ? new sbyte[weight.Scales.Length] : weight.ZeroPoints, rows, groups)));
        yield return Tensor("scales", ElementType.F16, [groups, rows],
            () => ElementType.F16.ToBytes(PackedWords.Transpose<float>(weight.Scales, rows, groups)));

        SafetensorsTensor Tensor(string part, ElementType type, long[] shape, Func<byte[]> bytes) =>
            new($"{layer.Name}.{part}", type, shape, stream => stream.Write(bytes()));
    }

    private static QuantizedTensor Read(Checkpoint checkpoint, string name, int group, bool symmetric)
    {
        var (columns, words) = Shape(checkpoint, name, shape => shape[0], group);
        var rows = words * CodesPerWord;
        var groups = group < 0 ? 1 : columns / group;
        var codes = Unpack(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{WeightOnlyCheckpoint.Codes}", ElementType.I32, columns, words), Order);

        // Symmetric zero points are all 8 and may be left out.
        var zeroPoints = symmetric && !checkpoint.Contains($"{name}.{Zeros}")
            ? new sbyte[groups * rows]
            : Unpack(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{Zeros}", ElementType.I32, groups, words), Order);
        return ImportedWeight.Create(
            rows, columns, Bits, group < 0 ? Granularity.Channel : Granularity.Group(group), PackedWords.Transpose<sbyte>(codes, columns, rows),
            WeightOnlyCheckpoint.Scales(checkpoint, $"{name}.scales", groups, rows), PackedWords.Transpose<sbyte>(zeroPoints, groups, rows),
            groupIndex: null, $"{checkpoint.Folder}, {name}.scales");
    }

    private static QuantizedTensor ReadRowWise(Checkpoint checkpoint, string name, int group)
    {
        var (rows, words) = Shape(checkpoint, name, shape => shape[1] * CodesPerWord, group);
        var columns = words * CodesPerWord;
        var groups = group < 0 ? 1 : columns / group;
        var width = checkpoint.Entry($"{name}.{Zeros}").Shape is [_, >= 1 and <= int.MaxValue and var found] && found * CodesPerWord >= groups
            ? (int)found
            : (groups + CodesPerWord - 1) / CodesPerWord;
        var codes = Unpack(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{WeightOnlyCheckpoint.Codes}", ElementType.I32, rows, words), InOrder);
        var zeroPoints = Unpack(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{Zeros}", ElementType.I32, rows, width), InOrder);
        var scales = WeightOnlyCheckpoint.Scales(checkpoint, $"{name}.scales", rows, width * CodesPerWord);
        var filled = PackedWords.Transpose<float>(scales, width * CodesPerWord, rows);
        return ImportedWeight.Create(
            rows, columns, Bits, group < 0 ? Granularity.Channel : Granularity.Group(group), codes,
            [.. Cut<float>(filled)], [.. Cut<sbyte>(zeroPoints)], groupIndex: null, $"{checkpoint.Folder}, {name}.scales");

        IEnumerable<T> Cut<T>(T[] values) => Enumerable.Range(0, rows).SelectMany(row => values.Skip(row * width * CodesPerWord).Take(groups));
    }

    /// <summary>The shape of a layer's packed codes, in words.</summary>
    private static (int Height, int Width) Shape(Checkpoint checkpoint, string name, Func<IReadOnlyList<long>, long> inputs, int group)
    {
        var shape = checkpoint.Entry($"{name}.{WeightOnlyCheckpoint.Codes}").Shape;
        return shape is [>= 1 and <= int.MaxValue, >= 1 and <= int.MaxValue] && (group < 0 || inputs(shape) % group == 0)
            && (Int128)shape[0] * shape[1] * CodesPerWord <= Array.MaxLength
            ? ((int)shape[0], (int)shape[1])
            : throw new NibbleException($"{checkpoint.Folder}, {name}.{WeightOnlyCheckpoint.Codes}: [{string.Join(", ", shape)}] is not the shape of packed "
                + $"codes whose inputs are a multiple of the group size {group}.");
    }

    /// <summary>Packs each run of eight codes into four bytes, as a little-endian word.</summary>
    private static byte[] Pack(ReadOnlySpan<sbyte> codes)
    {
        var bytes = new byte[codes.Length / 2];
        for (var i = 0; i < codes.Length; i++)
        {
            var code = codes[(i / CodesPerWord * CodesPerWord) + Order[i % CodesPerWord]] + Offset;
            bytes[i / 2] |= (byte)(code << (4 * (i % 2)));
        }

        return bytes;
    }

    private static sbyte[] Unpack(ReadOnlySpan<byte> bytes, ReadOnlySpan<int> order)
    {
        var codes = new sbyte[2 * bytes.Length];
        for (var i = 0; i < codes.Length; i++)
        {
            codes[(i / CodesPerWord * CodesPerWord) + order[i % CodesPerWord]] = (sbyte)(((bytes[i / 2] >> (4 * (i % 2))) & 0xF) - Offset);
        }

        return codes;
    }
}
