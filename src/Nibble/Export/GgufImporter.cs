using System.Globalization;
using System.Security.Cryptography;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.Gguf;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Models.Decoders;
using Nibble.Recipes;

namespace Nibble.Export;

/// <summary>Converts a GGUF file to an artifact, code for code, or to a float checkpoint if none of its matrices has codes.</summary>
/// <remarks>
/// Linear layers keep their codes if a scheme can express them (see <see cref="GgufCodes"/>). Other tensors keep their values: in their own
/// type if it is a float type, as binary32 if they are in blocks. A file that <see cref="GgufExporter"/> wrote is written again byte for byte.
/// </remarks>
internal static class GgufImporter
{
    private const int ChunkValues = 1 << 20;

    /// <summary>Imports a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="progress">Receives a report after each tensor.</param>
    /// <param name="cancellation">Stops between tensors and removes the folder.</param>
    /// <exception cref="NibbleException">The file is damaged, its model is not supported, or the folder already exists.</exception>
    public static ImportResult Run(string path, string folder, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        using var file = GgufFile.Open(path);
        file.RequireWhole();
        var (json, config) = ImportedConfig.Read(file);
        var tensors = Match(file, config);
        var codes = tensors.Where(IsLinear)
            .Select(tensor =>
            {
                cancellation.ThrowIfCancellationRequested();
                return (tensor.Name.Source, Codes: GgufCodes.TryRead(file, tensor.Entry, tensor.Name.SourceRow));
            })
            .Where(tensor => tensor.Codes is not null)
            .ToDictionary(tensor => tensor.Source, tensor => tensor.Codes!, StringComparer.Ordinal);
        var floats = tensors.Where(tensor => !codes.ContainsKey(tensor.Name.Source)).ToList();
        var tokenizer = Directory.CreateTempSubdirectory("nibble-import-");
        try
        {
            GgufTokenizerFiles.Write(file, tokenizer.FullName);
            if (codes.Count == 0)
            {
                SafetensorsTensor[] written =
                    [.. floats.Select(tensor => new SafetensorsTensor(
                        tensor.Name.Source, StoredAs(tensor), tensor.Name.Shape, stream => Copy(file, tensor, stream)))];
                Checkpoint.Save(folder, json, WriteProgress.Track(written, "write", progress, cancellation), tokenizer.FullName);
            }
            else
            {
                var layers = codes.Select(layer => new QuantizedLayer(LayerOf(layer.Key), layer.Value, Input: null)).ToList();
                var recipe = new Recipe("imported-gguf", ImportedRules.Of(layers, floats.Where(IsLinear).Select(tensor => LayerOf(tensor.Name.Source))));
                var provenance = new Provenance(
                    Provenance.ThisVersion, "ptq", Seed: 0, new Dictionary<string, string> { [Path.GetFileName(path)] = Hash(path) },
                    new Dictionary<string, double>());
                QuantizedModelFile.Save(
                    new QuantizedModel(json, layers, [.. floats.Select(tensor => Read(file, tensor))], recipe, provenance, tokenizer.FullName), folder,
                    progress, cancellation);
            }
        }
        finally
        {
            tokenizer.Delete(recursive: true);
        }

        return new ImportResult(ImportedConfig.NameIn(json) ?? Path.GetFileNameWithoutExtension(path), "gguf", codes.Count,
            QuantizedModelFile.TensorBytes(folder), [.. Notes(codes.Count, floats)])
        {
            Summary = QuantizedModelFile.Summarize(folder),
        };
    }

    private sealed record Tensor(GgufTensorName Name, GgufEntry Entry);

    /// <summary>The file's tensors with both names. They must be exactly those of the model.</summary>
    private static List<Tensor> Match(GgufFile file, DecoderConfig config)
    {
        var tensors = new List<Tensor>();
        foreach (var name in GgufNames.Of(config))
        {
            var entry = file.FindTensor(name.Name) ?? throw new NibbleException(
                $"{file.Path}: there is no tensor {name.Name}, which a model of architecture {config.ModelType} with this metadata has");
            if (!entry.Dimensions.Reverse().SequenceEqual(name.Shape))
            {
                throw new GgufException(
                    file.Path, entry.Offset,
                    $"tensor {name.Name} has the dimensions [{string.Join(", ", entry.Dimensions)}], expected [{string.Join(", ", name.Shape.Reverse())}] from "
                    + $"the metadata");
            }

            tensors.Add(new Tensor(name, entry));
        }

        var known = tensors.Select(tensor => tensor.Name.Name).Concat(GgufMetadata.RotaryFactors(config).Select(rotary => rotary.Name))
            .ToHashSet(StringComparer.Ordinal);
        return file.Tensors.FirstOrDefault(tensor => !known.Contains(tensor.Name)) is { } unknown
            ? throw new GgufException(
                file.Path, unknown.Offset, $"tensor {unknown.Name} is not used by a model of architecture {config.ModelType} with this metadata")
            : tensors;
    }

    private static bool IsLinear(Tensor tensor) => tensor.Name.Shape.Length == 2 && tensor.Name.Source != DecoderConfig.EmbeddingName;

    private static string LayerOf(string tensor) => tensor[..^".weight".Length];

    private static ElementType StoredAs(Tensor tensor) =>
        tensor.Entry.Type switch { GgufType.F16 => ElementType.F16, GgufType.BF16 => ElementType.BF16, _ => ElementType.F32 };

    private static FloatTensor Read(GgufFile file, Tensor tensor)
    {
        var count = tensor.Name.Shape.Aggregate(1L, (product, size) => product * size);
        if (count > Array.MaxLength)
        {
            throw new GgufException(
                file.Path, tensor.Entry.Offset, $"tensor {tensor.Name.Name} has {count} values; at most {Array.MaxLength} can be read");
        }

        // Written directly into the array, because the bytes may be more than an array can hold.
        var values = new float[(int)count];
        using var stream = new FloatSink(StoredAs(tensor), values);
        Copy(file, tensor, stream);
        return new FloatTensor(tensor.Name.Source, [.. tensor.Name.Shape.Select(size => (int)size)], values, StoredAs(tensor));
    }

    /// <summary>Writes a tensor's values in the layout of a checkpoint, one part at a time.</summary>
    private static void Copy(GgufFile file, Tensor tensor, Stream stream)
    {
        if (tensor.Name.Shape is [var length])
        {
            // In GGUF a vector is one row, but its values are in the order of the rows that they belong to.
            var read = file.ReadFloats(tensor.Entry);
            GgufTensorName.Shift(read, -tensor.Name.Offset);
            FiniteValues.Require(read, file.Path, tensor.Entry.Name, [length]);
            stream.Write(StoredAs(tensor).ToBytes([.. Enumerable.Range(0, (int)length).Select(row => read[tensor.Name.FileRow(row)])]));
            return;
        }

        var (rows, columns) = (tensor.Entry.Rows, tensor.Entry.Columns);
        var rowBytes = tensor.Entry.ByteLength / rows;
        var chunk = tensor.Name.Heads == 0 ? Math.Clamp(ChunkValues / columns, 1, rows) : 1;
        var bytes = new byte[chunk * rowBytes];
        var values = new float[chunk * columns];
        for (var row = 0L; row < rows; row += chunk)
        {
            var count = Math.Min(chunk, rows - row);
            var part = bytes.AsSpan(0, (int)(count * rowBytes));
            file.ReadBytes(tensor.Entry, tensor.Name.FileRow(row) * rowBytes, part);
            var floats = values.AsSpan(0, (int)(count * columns));
            file.Dequantize(tensor.Entry, part, floats);
            FiniteValues.Require(floats, file.Path, tensor.Entry.Name, [rows, columns], tensor.Name.FileRow(row) * columns);
            if (tensor.Entry.Type.IsFloat())
            {
                stream.Write(part);
            }
            else
            {
                stream.Write(ElementType.F32.ToBytes(floats));
            }
        }
    }

    private static string Hash(string path)
    {
        using var stream = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }

    private static IEnumerable<string> Notes(int layers, List<Tensor> floats)
    {
        var widened = floats.Where(tensor => !tensor.Entry.Type.IsFloat()).GroupBy(tensor => tensor.Entry.Type).OrderByDescending(group => group.Count())
            .ToList();
        if (widened.Count > 0)
        {
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"{string.Join(" and ", widened.Select(group => $"{group.Count()} of {group.Key}"))} "
                    + $"{(widened.Sum(group => group.Count()) == 1 ? "is" : "are")} now float32 with the dequantized values: embeddings have no "
                    + $"codes here, and the other types and minimums that are not multiples of their scales have no scheme");
        }

        if (layers == 0)
        {
            yield return "no layer has codes: the folder is a float checkpoint that you can quantize or evaluate";
        }
    }
}
