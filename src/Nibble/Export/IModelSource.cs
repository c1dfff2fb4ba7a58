using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;

namespace Nibble.Export;

/// <summary>The source of the tensors of a model that is written in another format.</summary>
internal interface IModelSource : IDisposable
{
    /// <summary>The folder that holds the tokenizer.</summary>
    string Folder { get; }

    /// <summary>The folder or file, for messages.</summary>
    string Place { get; }

    /// <summary>The location of the configuration, for messages.</summary>
    string ConfigPlace { get; }

    /// <summary>The text of the model's <c>config.json</c>.</summary>
    string ConfigJson { get; }

    /// <summary>The manifest of an artifact; null for a float model.</summary>
    ArtifactManifest? Manifest { get; }

    /// <summary>The names of quantized layers and of float tensors.</summary>
    IEnumerable<string> Names { get; }

    /// <summary>A float tensor; null if there is none with this name.</summary>
    SourceTensor? Float(string name);
}

/// <summary>A model in a folder: a checkpoint or an artifact.</summary>
internal interface IFolderSource : IModelSource
{
    /// <summary>A quantized layer; null if there is none with this name.</summary>
    /// <param name="name">Its name.</param>
    QuantizedLayer? Layer(string name);

    /// <summary>The rows and columns of a quantized layer, without its codes; null if there is none with this name.</summary>
    /// <param name="name">Its name.</param>
    (int Rows, int Columns)? SizeOf(string name);
}
