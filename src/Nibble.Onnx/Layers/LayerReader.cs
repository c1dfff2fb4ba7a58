using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;

namespace Nibble.Onnx.Layers;

/// <summary>Reads a quantized layer from the constants that a form of nodes has written.</summary>
/// <param name="file">The file.</param>
/// <param name="layer">The layer's entry in the file's metadata.</param>
/// <param name="rows">Rows of its weight.</param>
/// <param name="columns">Columns of its weight.</param>
internal delegate QuantizedLayer LayerReader(OnnxFile file, ManifestLayer layer, int rows, int columns);
