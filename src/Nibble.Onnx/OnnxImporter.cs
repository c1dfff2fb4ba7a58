using Nibble.Files;
using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Onnx.Families;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Sources;

namespace Nibble.Onnx;

/// <summary>The result of importing an ONNX file.</summary>
/// <param name="Layers">The number of quantized layers. 0 if a float checkpoint was written.</param>
/// <param name="Notes">Information in the file that the folder does not keep, one sentence each.</param>
public sealed record OnnxImportResult(int Layers, IReadOnlyList<string> Notes);

/// <summary>Imports an ONNX file that Nibble exported, as the folder that was exported: an artifact, code for code, or a float checkpoint.</summary>
/// <remarks>
/// The graph is built again with the file as the source of its tensors, so that each form of nodes reads what it writes. Then everything that was read is
/// written again and compared. For every tensor that an import accepts, an export therefore produces the same bytes.
/// </remarks>
public static class OnnxImporter
{
    /// <summary>Imports a model.</summary>
    /// <param name="tensors">The file, opened by <see cref="ModelTensors.OpenExported"/>.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="progress">Receives progress after each tensor.</param>
    /// <param name="cancellation">Cancels between tensors. No folder is left.</param>
    /// <exception cref="NibbleException">
    /// The tensors do not match the model or could not have been written by Nibble, or the folder already exists.
    /// </exception>
    public static OnnxImportResult Run(
        ModelTensors tensors, string folder, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        var notes = Read(tensors);
        return Write(tensors, notes, folder, progress, cancellation);
    }

    /// <summary>Reads a model's tensors and compares them with the result of an export.</summary>
    /// <returns>Notes.</returns>
    internal static IReadOnlyList<string> Read(ModelTensors tensors)
    {
        var file = Exported(tensors).File;
        var definition = tensors.ParseDefinition();
        return Compare(file, GraphFamilies.Of(definition).Build(definition, tensors, AccuracyOf(file)).Graph);
    }

    /// <summary>The model that was read. Null if it is float.</summary>
    internal static QuantizedModel? Model(OnnxSource source) => source.Manifest is not { } manifest ? null : new QuantizedModel(
        manifest.ConfigJson,
        [.. source.Layers],
        [.. source.Floats.Select(tensor => new FloatTensor(tensor.Name, [.. tensor.Shape.Select(size => (int)size)], tensor.Read(), tensor.StoredAs))],
        manifest.Recipe,
        manifest.Provenance,
        source.Folder);

    private static OnnxImportResult Write(
        ModelTensors tensors, IEnumerable<string> notes, string folder, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var source = Exported(tensors);
        if (Model(source) is not { } model)
        {
            SafetensorsTensor[] written =
                [.. source.Floats.Select(tensor => new SafetensorsTensor(
                    tensor.Name, tensor.StoredAs, tensor.Shape, stream => stream.Write(tensor.StoredAs.ToBytes(tensor.Read()))))];
            Checkpoint.Save(folder, source.ConfigJson, WriteProgress.Track(written, "write", progress, cancellation), source.Folder);
            return new OnnxImportResult(0, [.. notes, .. NotesOn(source)]);
        }

        try
        {
            QuantizedModelFile.Save(model, folder, progress, cancellation);
        }
        catch (Exception exception) when (exception is ArgumentException or InvalidOperationException)
        {
            // The model matches the metadata, so it is the metadata that contradict themselves.
            throw new NibbleException($"{source.ConfigPlace}: {exception.Message}", exception);
        }

        return new OnnxImportResult(model.Layers.Count, [.. notes, .. NotesOn(source)]);
    }

    private static OnnxSource Exported(ModelTensors tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        return tensors.Exported ?? throw new ArgumentException($"{tensors.Folder} is a folder, expected an ONNX file.", nameof(tensors));
    }

    /// <summary>Writes the file's constants and nodes again and compares them.</summary>
    /// <returns>A note if anything other than the model's tensors differs.</returns>
    /// <exception cref="NibbleException">A tensor of the model differs.</exception>
    private static IReadOnlyList<string> Compare(OnnxFile file, GraphBuilder graph)
    {
        var (found, expected) = (file.Model, graph.Build(string.Empty, []));
        string? other = null;
        foreach (var tensor in graph.Initializers)
        {
            if (tensor.ByteLength > Array.MaxLength)
            {
                throw file.Refused($"tensor '{tensor.Name}' has {tensor.ByteLength} bytes, expected at most {Array.MaxLength}");
            }

            using var written = new MemoryStream((int)tensor.ByteLength);
            tensor.Write(written);
            var isOfModel = file.WasRead(tensor.Name);
            var isSame = file.Find(tensor.Name) is { } known && known.Type == tensor.Type.Name() && known.Shape.SequenceEqual(tensor.Shape)
                && file.Bytes(tensor.Name, tensor.Type, [.. tensor.Shape]).Span.SequenceEqual(written.GetBuffer().AsSpan(0, (int)written.Length));
            if (!isSame && isOfModel)
            {
                throw file.Refused($"tensor '{tensor.Name}' holds values that its scheme cannot produce, so the file was edited. Export the model again");
            }

            other ??= isSame ? null : $"the constant '{tensor.Name}'";
        }

        var nodes = expected.Graph.Node.Zip(found.Graph.Node).FirstOrDefault(pair => !pair.First.Equals(pair.Second));
        other ??= nodes.First is { } node ? $"the node '{node.Name}'"
            : !expected.Graph.Node.Equals(found.Graph.Node) ? "the number of nodes"
            : !expected.Graph.Input.Equals(found.Graph.Input) || !expected.Graph.Output.Equals(found.Graph.Output) ? "the inputs and outputs"
            : expected.IrVersion != found.IrVersion || !expected.OpsetImport.Equals(found.OpsetImport) ? "the version of the operators"
            : null;
        return other is null ? []
            : [$"the graph is not the one that this version of Nibble writes for the model (first difference: {other}), so the file may not compute the same "
            + $"as the folder"];
    }

    private static MatMulAccuracy AccuracyOf(OnnxFile file) => file.Model.Graph.Node.Any(node =>
        node.OpType == "MatMulNBits" && node.Attribute.Any(attribute => attribute.Name == "accuracy_level" && attribute.I == (long)MatMulAccuracy.Int8))
        ? MatMulAccuracy.Int8
        : MatMulAccuracy.Float32;

    private static IEnumerable<string> NotesOn(OnnxSource source)
    {
        if (AccuracyOf(source.File) == MatMulAccuracy.Int8)
        {
            yield return "the file's MatMulNBits nodes round inputs to 8 bits in blocks. The folder does not record this. No simulation does it, and an "
                + "export must set the accuracy level 4 again";
        }

        if (TextTokenizer.FilesIn(source.Folder).Count == 0)
        {
            yield return $"there is no tokenizer next to {Path.GetFileName(source.File.Path)}, so the folder has none and cannot read text";
        }
    }
}
