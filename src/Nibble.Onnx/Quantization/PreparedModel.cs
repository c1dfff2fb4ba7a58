using Nibble.Onnx.Graphs;
using Nibble.Onnx.Preparation;
using Nibble.Onnx.Quantization.Estimation;

namespace Nibble.Onnx.Quantization;

/// <summary>A float model that is ready to be quantized: constants are folded, batch normalization is part of convolutions, all types are known.</summary>
internal sealed class PreparedModel
{
    private readonly ModelProto model;

    private PreparedModel(string path, string folder, ModelProto model)
    {
        (Path, Folder, this.model) = (path, folder, model);
        SourceBytes = OnnxWriter.BytesOf(path);
    }

    /// <summary>The file that the user gave.</summary>
    public string Path { get; }

    /// <summary>The prepared model as a file, below <see cref="Folder"/>.</summary>
    public string Source => System.IO.Path.Combine(Folder, "prepared.onnx");

    /// <summary>A folder for temporary files.</summary>
    public string Folder { get; }

    /// <summary>The size of the model in bytes, with its tensor file.</summary>
    public long SourceBytes { get; }

    /// <summary>How many values may be outputs of one run. Default: all.</summary>
    public MemoryPlan Memory { get; set; } = MemoryPlan.Unlimited;

    /// <summary>Reads and prepares a model.</summary>
    /// <exception cref="NibbleException">The file is missing, is not a valid model, or is refused by ONNX Runtime.</exception>
    public static PreparedModel Open(string path, string folder)
    {
        var prepared = new PreparedModel(path, folder, ModelPreparation.Prepare(path, folder).Model);
        OnnxWriter.Write(prepared.Source, prepared.model);
        return prepared;
    }

    /// <summary>The same model with another graph that computes the same. <see cref="Source"/> stays what it is.</summary>
    public PreparedModel With(OnnxGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        return new PreparedModel(Path, Folder, graph.Model) { Memory = Memory };
    }

    /// <summary>A graph of the model that can be edited.</summary>
    public OnnxGraph Graph() => new(model.Clone());
}
