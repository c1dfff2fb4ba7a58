using Nibble.Formats.Safetensors;
using System.Globalization;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.Gguf;
using Nibble.Formats.HuggingFace;
using Nibble.Models.Decoders;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Export;

/// <summary>The result of an export.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Bytes">Bytes of the file.</param>
/// <param name="Types">The number of tensors of each type, the type with the most bytes first.</param>
/// <param name="Notes">What differs from the exported model, or what the engine computes differently, one sentence each.</param>
public sealed record ExportResult(string Model, long Bytes, IReadOnlyList<(string Type, int Tensors)> Types, IReadOnlyList<string> Notes)
{
    /// <summary>Which layers were written as codes, which as floats, and why.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}

/// <summary>Writes a model as a GGUF file, which llama.cpp runs.</summary>
/// <remarks>
/// The codes of an artifact are written unchanged and never rounded again. Codes that no block type can hold are an error. Matrices whose rows are
/// not whole blocks become F16, as in llama.cpp's own quantizer. Vectors are F32.
/// </remarks>
public static class GgufExporter
{
    private const int ChunkValues = 1 << 20;

    /// <summary>The types that an export supports.</summary>
    public static IReadOnlyList<GgufType> Types { get; } =
        [GgufType.F32, GgufType.F16, GgufType.BF16, GgufType.Q8_0, GgufType.Q5_1, GgufType.Q5_0, GgufType.Q4_1, GgufType.Q4_0, GgufType.TQ2_0, GgufType.TQ1_0];

    /// <summary>The types that an export supports for the embedding and the head.</summary>
    public static IReadOnlyList<GgufType> EmbeddingTypes { get; } =
        [GgufType.F32, GgufType.F16, GgufType.BF16, GgufType.Q8_0, GgufType.Q6_K, GgufType.Q5_1, GgufType.Q5_0, GgufType.Q4_1, GgufType.Q4_0];

    /// <summary>Exports a model.</summary>
    /// <param name="model">The folder of an artifact or of a float checkpoint.</param>
    /// <param name="path">The file to write, which must not exist.</param>
    /// <param name="type">
    /// The type of matrices. A float type applies to all matrices. A block type applies to those that have codes, and must be able to hold them. Null takes the
    /// smallest type that holds each matrix's codes, and the stored type of float matrices.
    /// </param>
    /// <param name="embeddings">The type that embedding and head are rounded to if they have no codes; null applies <paramref name="type"/>.</param>
    /// <param name="progress">Receives a report after each tensor.</param>
    /// <param name="cancellation">Stops between tensors.</param>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded, the file cannot hold the model, or the file exists.</exception>
    public static ExportResult Run(
        string model, string path, GgufType? type, GgufType? embeddings = null, IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        using var source = ModelSources.Open(model);
        var config = DecoderConfig.Parse(source.ConfigJson, source.ConfigPlace);
        var modelName = ImportedConfig.NameIn(source.ConfigJson) ?? Checkpoint.NameOf(source.Folder);
        var names = GgufNames.Of(config).ToList();
        ModelSources.RequireExactly(
            source, names.ToDictionary(tensor => tensor.Source, tensor => tensor.Shape, StringComparer.Ordinal), config.ModelType, config.IsIgnored);
        GgufSupport.Require(model, config);
        var notes = new List<string>();
        if (source.Manifest is { } artifact)
        {
            RequireComputable(source, artifact);
            notes.AddRange(SimulatedElsewhere(artifact));
        }
        else if (type is { } wanted && !wanted.IsFloat())
        {
            throw new NibbleException(
                $"{model}: a float model has no codes to store as {wanted}; export it as {nameof(GgufType.F16)} and quantize that file, or quantize the "
                + $"model with nibble ptq or qat first");
        }

        var plans = names.Select(name => Plan(source, name, type, embeddings)).ToList();
        notes.AddRange(Describe(plans));
        var tokenizer = GgufTokenizer.Read(source.Folder, config.VocabularySize);
        notes.AddRange(tokenizer.Notes);
        var metadata = GgufMetadata.Of(modelName, config, Mostly(plans)).Concat(tokenizer.Metadata).ToList();
        var tensors = new List<GgufTensor>();
        var written = new WriteProgress("export", plans.Count, progress, cancellation);
        foreach (var plan in plans)
        {
            tensors.Add(new GgufTensor(
                plan.Name.Name, plan.Type, [.. plan.Name.Shape.Reverse()], written.Track(stream => Write(source, plan, stream))));
        }

        tensors.AddRange(GgufMetadata.RotaryFactors(config).Select(rotary => new GgufTensor(
            rotary.Name, GgufType.F32, [rotary.Factors.Length], stream => stream.Write(ElementType.F32.ToBytes(rotary.Factors)))));
        GgufWriter.Write(path, metadata, tensors, replace: false);
        var types = plans.GroupBy(plan => plan.Type)
            .OrderByDescending(group => group.Sum(plan => group.Key.CountBytes([.. plan.Name.Shape.Reverse()])))
            .Select(group => (group.Key.ToString(), group.Count()));
        return new ExportResult(modelName, new FileInfo(path).Length, [.. types], notes) { Summary = Summarize(plans) };
    }

    /// <summary>How a tensor is written.</summary>
    /// <param name="Name">Its names.</param>
    /// <param name="Type">Its type in the file.</param>
    /// <param name="Read">Reads its values in the checkpoint's order.</param>
    /// <param name="Codes">Its codes; null if it is float.</param>
    /// <param name="Blocks">The codes as blocks; null if values are written.</param>
    /// <param name="Ragged">Whether values are written because rows are not whole blocks.</param>
    private sealed record TensorPlan(
        GgufTensorName Name, GgufType Type, TensorReader Read, QuantizedTensor? Codes = null, ExactBlocks? Blocks = null, bool Ragged = false);

    private static TensorPlan Plan(IFolderSource source, GgufTensorName name, GgufType? type, GgufType? embeddings)
    {
        if (source.Float(name.Source) is { } floats)
        {
            return new TensorPlan(name, FloatType(source, name, floats, type, embeddings), floats.ReadPart);
        }

        var codes = source.Layer(name.Source[..^".weight".Length])!.Weight;
        if (type is { } floating && floating.IsFloat())
        {
            return new TensorPlan(name, floating, Values, codes);
        }

        if (codes.Columns % (type ?? GgufType.Q4_0).BlockSize() != 0)
        {
            return new TensorPlan(name, GgufType.F16, Values, codes, Ragged: true);
        }

        var blocks = type is { } block ? ExactBlocks.Create(codes, block) : ExactBlocks.Find(codes);
        return blocks is not null
            ? new TensorPlan(name, blocks.Type, Values, codes, blocks)
            : throw new NibbleException(
                $"{source.Folder}: layer '{name.Source}' has the scheme {codes.Scheme}{(codes.GroupIndex is null ? string.Empty : " of scattered columns")} "
                    + $"with {codes.Scheme.ScalePrecision} scales, whose codes {(type is null ? "no block type can hold" : $"{type} cannot hold")}. "
                + $"{ExactBlocks.Rules}. Quantize with such a scheme{(type is null ? string.Empty : ", omit the type")}, or use the type f16, which "
                    + $"writes the dequantized values.");

        void Values(long start, Span<float> values)
        {
            for (var i = 0; i < values.Length; i++)
            {
                values[i] = codes.ValueAt((int)start + i);
            }
        }
    }

    private static GgufType FloatType(IFolderSource source, GgufTensorName name, SourceTensor tensor, GgufType? type, GgufType? embeddings)
    {
        if (name.Shape.Length == 1)
        {
            return GgufType.F32;
        }

        if (embeddings is { } rounded && (name.Source == DecoderConfig.EmbeddingName || name.Source == DecoderConfig.HeadName + ".weight"))
        {
            return name.Shape[1] % rounded.BlockSize() == 0
                ? rounded
                : throw new NibbleException(
                    $"{source.Folder}: the rows of {name.Name} have {name.Shape[1]} values, which are not whole blocks of {rounded} "
                    + $"({rounded.BlockSize()}); give another type for embeddings");
        }

        return type is { } wanted && wanted.IsFloat() ? wanted
            : tensor.StoredAs switch { ElementType.F32 => GgufType.F32, ElementType.F16 => GgufType.F16, _ => GgufType.BF16 };
    }

    private static void Write(IFolderSource source, TensorPlan plan, Stream stream)
    {
        var (rows, columns) = plan.Name.Shape is [var first, var second] ? (first, second) : (plan.Name.Shape[0], 1);
        if (plan.Blocks is { } blocks)
        {
            var bytes = new byte[blocks.RowBytes];
            for (var row = 0L; row < rows; row++)
            {
                blocks.WriteRow((int)plan.Name.SourceRow(row), bytes);
                stream.Write(bytes);
            }

            return;
        }

        var chunk = Math.Clamp(ChunkValues / columns, 1, rows);
        var values = new float[chunk * columns];
        for (var row = 0L; row < rows; row += chunk)
        {
            var count = Math.Min(chunk, rows - row);
            if (plan.Name.Heads == 0)
            {
                plan.Read(row * columns, values.AsSpan(0, (int)(count * columns)));
            }
            else
            {
                for (var i = 0L; i < count; i++)
                {
                    plan.Read(plan.Name.SourceRow(row + i) * columns, values.AsSpan((int)(i * columns), (int)columns));
                }
            }

            var floats = values.AsSpan(0, (int)(count * columns));
            GgufTensorName.Shift(floats, plan.Name.Offset);
            if (GgufBlocks.FindFault(plan.Type, floats) is >= 0 and var fault)
            {
                var (place, column) = Math.DivRem(fault, columns);
                throw new NibbleException(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{source.Folder}: tensor '{plan.Name.Source}' has the value {floats[fault]} in row {plan.Name.SourceRow(row + place)}, "
                        + $"column {column}, but {plan.Type} holds only finite values of at most {GgufBlocks.LargestOf(plan.Type)} by magnitude; "
                        + $"the model is damaged, or needs {GgufType.BF16} or {GgufType.F32}"));
            }

            stream.Write(GgufBlocks.Quantize(plan.Type, floats));
        }
    }

    /// <summary>Rejects what llama.cpp would compute incorrectly.</summary>
    private static void RequireComputable(IFolderSource source, ArtifactManifest artifact)
    {
        if (artifact.Layers.FirstOrDefault(layer => layer.Transform != InputTransform.None) is { } turned)
        {
            throw new NibbleException(
                $"{source.Folder}: layer '{turned.Name}' rotates its input with a Hadamard matrix at inference, which llama.cpp does not do; quantize "
                + $"without rotation (recipe '{artifact.Recipe.Name}')");
        }
    }

    private static IEnumerable<string> SimulatedElsewhere(ArtifactManifest artifact)
    {
        if (artifact.Layers.Any(layer => layer.Scheme.Activations is not null))
        {
            yield return "the activation schemes are not written: llama.cpp quantizes the inputs of quantized layers in its own way, to 8-bit blocks";
        }

        if (artifact.Recipe.KeyValueCache is not null)
        {
            yield return "the scheme of the key-value cache is not written: llama.cpp uses the cache type that it is started with";
        }
    }

    private static RunSummary Summarize(IEnumerable<TensorPlan> plans)
    {
        var matrices = plans.Where(plan => plan.Name.Shape.Length > 1).ToLookup(plan => plan.Type.IsFloat());
        return new RunSummary(
            [.. matrices[false].Select(plan => new SummarizedLayer(
                LayerOf(plan), plan.Blocks is null ? plan.Type.ToString() : $"{plan.Codes!.Scheme} ({plan.Type})", null, null))],
            [.. matrices[true].Select(plan => new KeptLayer(LayerOf(plan), plan.Ragged ? "rows that are not whole blocks"
                : plan.Codes is null ? "no codes" : $"{plan.Type} was requested, which stores the dequantized values"))],
            []);

        static string LayerOf(TensorPlan plan) => plan.Name.Source[..^".weight".Length];
    }

    private static IEnumerable<string> Describe(List<TensorPlan> plans)
    {
        var ragged = plans.Where(plan => plan.Ragged).ToList();
        if (ragged.Count > 0)
        {
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"{ragged.Count} quantized {(ragged.Count == 1 ? "matrix is" : "matrices are")} written as F16 with rounded values, because the rows are not "
                    + $"whole blocks: {ragged[0].Name.Name} has {ragged[0].Name.Shape[1]} columns");
        }

        var rounded = plans.Where(plan => plan.Blocks is { RoundedMinimums: > 0 }).ToList();
        if (rounded.Count > 0)
        {
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"in blocks of {string.Join(" and ", rounded.Select(plan => plan.Type).Distinct())} the minimums of "
                    + $"{rounded.Sum(plan => plan.Blocks!.RoundedMinimums):N0} groups are rounded to float16, which moves their values by at most "
                    + $"{rounded.Max(plan => plan.Blocks!.LargestShift):P2} of a step; codes and scales are exact (the type q5_0 holds asymmetric 4-bit codes "
                    + $"without this rounding)");
        }
    }

    private static GgufType Mostly(List<TensorPlan> plans) => plans
        .Where(plan => plan.Name.Shape.Length == 2)
        .GroupBy(plan => plan.Type)
        .OrderByDescending(group => group.Any(plan => plan.Blocks is not null))
        .ThenByDescending(group => group.Sum(plan => plan.Name.Shape[0] * plan.Name.Shape[1]))
        .First().Key;
}
