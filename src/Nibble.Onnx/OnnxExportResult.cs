namespace Nibble.Onnx;

/// <summary>The result of an export.</summary>
/// <param name="Bytes">The size in bytes of the file, including its tensor file if there is one.</param>
/// <param name="Forms">
/// The number of linear layers in each form of nodes, for example <c>MatMulNBits 4</c>. A head that shares the embedding is not counted.
/// </param>
/// <param name="DataPath">The tensor file. Null if the model's file holds the tensors.</param>
public sealed record OnnxExportResult(long Bytes, IReadOnlyDictionary<string, int> Forms, string? DataPath);
