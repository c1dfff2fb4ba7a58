using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Formats.Awq;

/// <summary>Quantized models as AWQ checkpoints of the version GEMM, which AutoAWQ, vLLM and transformers load.</summary>
/// <remarks>
/// Definition: casper-hansen/AutoAWQ, <c>awq/modules/linear/gemm.py</c> and <c>awq/utils/packing_utils.py</c>. <c>qweight</c> I32 [in, out / 8], eight codes of 4 bits, plus 8, in a
/// word, output <c>8 w + [0, 2, 4, 6, 1, 3, 5, 7][i]</c> in bits <c>4 i</c>; <c>qzeros</c> I32 [groups, out / 8] alike; <c>scales</c> F16 [groups, out].
/// </remarks>
public static class AwqFile
{
    private const string Method = "awq";
    private const int Bits = 4;
    private const int Offset = 8;
    private const int CodesPerWord = 8;

    /// <summary>Which output of a word's eight stands in its nibble of a number.</summary>
    private static readonly int[] Order = [0, 2, 4, 6, 1, 3, 5, 7];

    private static readonly HashSet<string> Parts = new(StringComparer.Ordinal) { WeightOnlyCheckpoint.Codes, "qzeros", "scales" };

    /// <summary>Writes a model; its codes, scales and zero points stay as they are. Equal models give equal bytes, and the folder appears only once it is whole.</summary>
    /// <param name="model">Weights of 4 bits in groups that divide the rows, of one scheme, with scales in binary16; outputs are multiples of 8; inputs stay float.</param>
    /// <param name="folder">The folder to create.</param>
    /// <exception cref="NibbleException">The format cannot hold the model, or the folder exists already.</exception>
    public static void Save(QuantizedModel model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        var scheme = WeightOnlyCheckpoint.SchemeOf(model, "AWQ");
        if (scheme is not { Bits: Bits, Granularity: PerGroup { Size: var group } })
        {
            throw new NibbleException($"AWQ cannot hold {scheme} weights, expected 4 bits in groups, such as w4a16-g128.");
        }

        foreach (var layer in model.Layers)
        {
            Require(layer.Weight.Columns % group == 0, layer, $"rows of {layer.Weight.Columns} columns, which groups of {group} do not divide; keep it float, or choose other groups");
            Require(layer.Weight.Rows % CodesPerWord == 0, layer, $"{layer.Weight.Rows} outputs, expected a multiple of {CodesPerWord}; keep it float");
            Require(layer.Weight.GroupIndex is null, layer, "groups of scattered columns, expected neighbouring ones; quantize with activationOrder: weight");
        }

        SafetensorsTensor[] tensors = [.. model.Layers.SelectMany(Tensors), .. WeightOnlyCheckpoint.FloatTensors(model)];
        CheckpointFolder.Create(folder, model.TokenizerFolder, temporary =>
        {
            SafetensorsWriter.Write(Path.Combine(temporary, Checkpoint.WeightsName), tensors, CheckpointFolder.Metadata);
            CheckpointFolder.WriteConfig(temporary, model.ConfigJson, (writer, _) => WriteConfig(writer, group, WeightOnlyCheckpoint.FloatModules(model)));
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
    /// <exception cref="NibbleException">A file is missing or broken, or the checkpoint holds something else.</exception>
    public static QuantizedModel Load(string folder)
    {
        using var checkpoint = Checkpoint.Open(folder);
        var path = Path.Combine(folder, Checkpoint.ConfigName);
        using var document = JsonFile.ReadObject(path);
        if (!document.RootElement.TryGetProperty(Checkpoint.QuantizationKey, out var value) || value.ValueKind != JsonValueKind.Object)
        {
            throw new NibbleException($"{path}: {Checkpoint.QuantizationKey} is missing, expected that of an AWQ checkpoint.");
        }

        var config = new QuantizationConfigReader(path, value);
        if (config.Text("quant_method") is not Method || config.Text("version") is not (null or "gemm" or "GEMM"))
        {
            throw config.Fault("quant_method", $"is {config.Text("quant_method") ?? "missing"} and version {config.Text("version") ?? "missing"}, expected {Method} and gemm");
        }

        config.WholeNumber("bits", bits => bits == Bits, "4");
        var group = config.WholeNumber("group_size", size => size > 0, "a number above 0");
        var scheme = new QuantizationScheme(Bits, symmetric: false, Granularity.Group(group)) { ScalePrecision = ScalePrecision.Float16 };
        return WeightOnlyCheckpoint.Read(checkpoint, Method, name => Read(checkpoint, name, scheme, group), Parts);
    }

    private static void WriteConfig(Utf8JsonWriter writer, int group, IReadOnlyList<string> floatModules)
    {
        writer.WriteStartObject();
        writer.WriteString("quant_method", Method);
        writer.WriteString("version", "gemm");
        writer.WriteNumber("bits", Bits);
        writer.WriteNumber("group_size", group);
        writer.WriteBoolean("zero_point", true);
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
        yield return Tensor(WeightOnlyCheckpoint.Codes, ElementType.I32, [columns, rows / CodesPerWord], () => Pack(PackedWords.Transpose<sbyte>(weight.Codes, rows, columns)));
        yield return Tensor("qzeros", ElementType.I32, [groups, rows / CodesPerWord],
            () => Pack(PackedWords.Transpose<sbyte>(weight.Scheme.Symmetric ? new sbyte[weight.Scales.Length] : weight.ZeroPoints, rows, groups)));
        yield return Tensor("scales", ElementType.F16, [groups, rows], () => ElementType.F16.ToBytes(PackedWords.Transpose<float>(weight.Scales, rows, groups)));

        SafetensorsTensor Tensor(string part, ElementType type, long[] shape, Func<byte[]> bytes) => new($"{layer.Name}.{part}", type, shape, stream => stream.Write(bytes()));
    }

    private static QuantizedTensor Read(Checkpoint checkpoint, string name, QuantizationScheme scheme, int group)
    {
        var shape = checkpoint.Entry($"{name}.{WeightOnlyCheckpoint.Codes}").Shape;
        if (shape is not [>= 1, >= 1] || shape[0] % group != 0 || (Int128)shape[0] * shape[1] * CodesPerWord > Array.MaxLength)
        {
            throw new NibbleException($"{checkpoint.Folder}, {name}.{WeightOnlyCheckpoint.Codes}: [{string.Join(", ", shape)}] is not the shape of words of codes whose inputs groups of {group} divide.");
        }

        var (columns, rows) = ((int)shape[0], (int)shape[1] * CodesPerWord);
        var groups = columns / group;
        var codes = Unpack(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.{WeightOnlyCheckpoint.Codes}", ElementType.I32, columns, rows / CodesPerWord));
        var zeroPoints = Unpack(WeightOnlyCheckpoint.Bytes(checkpoint, $"{name}.qzeros", ElementType.I32, groups, rows / CodesPerWord));
        return new QuantizedTensor(
            rows, columns, scheme, PackedWords.Transpose<sbyte>(codes, columns, rows), WeightOnlyCheckpoint.Scales(checkpoint, $"{name}.scales", groups, rows),
            PackedWords.Transpose<sbyte>(zeroPoints, groups, rows));
    }

    /// <summary>Packs eight codes in a row into four bytes, as a little-endian word.</summary>
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

    private static sbyte[] Unpack(ReadOnlySpan<byte> bytes)
    {
        var codes = new sbyte[2 * bytes.Length];
        for (var i = 0; i < codes.Length; i++)
        {
            codes[(i / CodesPerWord * CodesPerWord) + Order[i % CodesPerWord]] = (sbyte)(((bytes[i / 2] >> (4 * (i % 2))) & 0xF) - Offset);
        }

        return codes;
    }
}
