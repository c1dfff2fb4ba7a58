using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;

namespace Nibble.Export;

/// <summary>Where the tensors of a model come from that is written in another format.</summary>
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

    /// <summary>A float tensor; null where there is none of the name.</summary>
    SourceTensor? Float(string name);
}

/// <summary>A model that stands in a folder: a checkpoint or an artifact.</summary>
internal interface IFolderSource : IModelSource
{
    /// <summary>A quantized layer; null where the name is of none.</summary>
    /// <param name="name">Its name.</param>
    QuantizedLayer? Layer(string name);
}
