namespace Nibble.Onnx;

/// <summary>What an export wrote.</summary>
/// <param name="Bytes">Bytes of the file, and of the tensors' file beside it where there is one.</param>
/// <param name="Forms">How many linear layers are computed by each form of nodes, such as <c>MatMulNBits 4</c>; a head that shares the embedding is not
/// counted.</param>
/// <param name="DataPath">The tensors' file; null where the model's file holds them.</param>
public sealed record OnnxExportResult(long Bytes, IReadOnlyDictionary<string, int> Forms, string? DataPath);
