using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;

namespace Nibble.Onnx.Layers;

/// <summary>Reads a quantized layer out of the constants that a form of nodes has made of it.</summary>
/// <param name="file">The file.</param>
/// <param name="layer">What the file's metadata say of the layer.</param>
/// <param name="rows">Rows of its weight.</param>
/// <param name="columns">Columns of its weight.</param>
internal delegate QuantizedLayer LayerReader(OnnxFile file, ManifestLayer layer, int rows, int columns);
