namespace Nibble.Models;

/// <summary>A checkpoint has no head that identifies the model's task.</summary>
/// <param name="folder">The checkpoint's folder.</param>
/// <param name="modelType">Its <c>model_type</c>.</param>
public sealed class MissingHeadException(string folder, string modelType)
    : NibbleException($"{folder}: this {modelType} checkpoint has no head, so its task is unknown")
{
}
