using Nibble.Onnx;
using Nibble.Onnx.Engine;

namespace Nibble.Cli.Engines;

/// <summary>An exported file that holds an encoder.</summary>
/// <param name="File">The file.</param>
/// <param name="MaxSequence">The most tokens of a text; null where the file does not tell it.</param>
internal sealed record ExportedEncoder(ExportedFile File, int? MaxSequence)
{
    /// <summary>The encoder of a file; null where it holds another model, or none, which the engine refuses in its own words.</summary>
    public static ExportedEncoder? Find(ExportedFile file)
    {
        if (file.Engine != OnnxRuntimeEngine.EngineName)
        {
            return null;
        }

        try
        {
            var graph = OnnxFile.Open(file.Path);
            return OnnxRuntimeEncoder.IsEncoder(graph)
                ? new ExportedEncoder(file, OnnxMetadata.Number(graph.Metadata.ToDictionary(), OnnxMetadata.MaxSequence))
                : null;
        }
        catch (NibbleException)
        {
            return null;
        }
    }
}
