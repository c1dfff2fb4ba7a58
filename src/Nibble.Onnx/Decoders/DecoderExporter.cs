using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Decoders;

/// <summary>What an export wrote.</summary>
/// <param name="Bytes">Bytes of the file, and of the tensors' file beside it where there is one.</param>
/// <param name="DataPath">The tensors' file; null where the model's file holds them.</param>
public sealed record OnnxExportResult(long Bytes, string? DataPath);

/// <summary>Writes a Llama-family decoder as an ONNX graph with a key-value cache.</summary>
public static class DecoderExporter
{
    /// <summary>Exports a model; the codes of an artifact are written as they are, never rounded again.</summary>
    /// <param name="tensors">The model's tensors.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="path">The file to write; one that exists is replaced.</param>
    /// <param name="inlineLimit">Tensors of more bytes than this in total go to a second file, the name with <c>.data</c> behind; at most 2,000,000,000, which is what one file can hold.</param>
    /// <exception cref="NibbleException">The tensors are not those of the shape, or no graph expresses how the model is quantized; the message says which scheme would do.</exception>
    public static OnnxExportResult Run(ModelTensors tensors, DecoderShape shape, string path, long inlineLimit = OnnxWriter.InlineLimit)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(path);
        ArgumentOutOfRangeException.ThrowIfNegative(inlineLimit);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(inlineLimit, OnnxWriter.InlineLimit);
        if (tensors.Artifact?.Recipe.KeyValueCache is not null)
        {
            throw new NibbleException($"{tensors.Folder}: the recipe '{tensors.Artifact.Recipe.Name}' quantizes the key-value cache, which the graph keeps in float; quantize without it to export");
        }

        var graph = DecoderGraph.Build(shape, tensors);
        var bytes = OnnxWriter.Write(path, graph.Build(tensors.Name, Metadata(tensors)), graph.Initializers, inlineLimit);
        return new OnnxExportResult(bytes, graph.Initializers.Sum(tensor => tensor.ByteLength) > inlineLimit ? OnnxWriter.DataPath(path) : null);
    }

    private static IEnumerable<KeyValuePair<string, string>> Metadata(ModelTensors tensors) => tensors.Artifact is { } artifact
        ? [new("nibble.recipe", artifact.Recipe.Name), new("nibble.method", artifact.Provenance.Method), .. artifact.Provenance.SourceHashes.OrderBy(entry => entry.Key, StringComparer.Ordinal).Select(entry => new KeyValuePair<string, string>($"nibble.source.{entry.Key}", entry.Value))]
        : [];
}
