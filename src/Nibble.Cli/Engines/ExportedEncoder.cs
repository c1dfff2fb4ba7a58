using Nibble.Onnx;
using Nibble.Onnx.Engine;

namespace Nibble.Cli.Engines;

/// <summary>An exported file with an encoder.</summary>
/// <param name="File">The file.</param>
/// <param name="MaxSequence">The most tokens per text; null if the file does not specify it.</param>
internal sealed record ExportedEncoder(ExportedFile File, int? MaxSequence)
{
    /// <summary>The encoder in a file; null if the file has another model or none, which the engine reports.</summary>
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
