using Nibble.Artifacts;

namespace Nibble.Onnx.Sources;

/// <summary>Reads a quantized layer out of the constants that a form of nodes has made of it.</summary>
/// <param name="file">The file.</param>
/// <param name="layer">What the file's metadata say of the layer.</param>
/// <param name="rows">Rows of its weight.</param>
/// <param name="columns">Columns of its weight.</param>
internal delegate QuantizedLayer LayerReader(OnnxFile file, ManifestLayer layer, int rows, int columns);

/// <summary>Where the tensors of a model come from.</summary>
internal interface IModelSource : IDisposable
{
    /// <summary>The folder that holds the tokenizer.</summary>
    string Folder { get; }

    /// <summary>The folder or file, for messages.</summary>
    string Place { get; }

    /// <summary>Where the configuration stands, for messages.</summary>
    string ConfigPlace { get; }

    /// <summary>The text of the model's <c>config.json</c>.</summary>
    string ConfigJson { get; }

    /// <summary>What an artifact says of itself; null for a float model.</summary>
    ArtifactManifest? Manifest { get; }

    /// <summary>The names of quantized layers and of float tensors.</summary>
    IEnumerable<string> Names { get; }

    /// <summary>A quantized layer; null where the name is of none.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="rows">Rows that its weight should have.</param>
    /// <param name="columns">Columns that its weight should have.</param>
    /// <param name="reader">How a file that was exported holds it.</param>
    QuantizedLayer? Layer(string name, int rows, int columns, LayerReader reader);

    /// <summary>A float tensor; null where there is none of the name.</summary>
    SourceTensor? Float(string name);
}
