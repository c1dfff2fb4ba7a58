using Nibble.Files;

namespace Nibble.Formats.HuggingFace;

/// <summary>Checks of a checkpoint's tensors that all model families share.</summary>
internal static class CheckpointTensors
{
    /// <summary>Throws unless a checkpoint's tensors are exactly those of a model, by name, shape and kind.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="expected">The model's tensors and their shapes.</param>
    /// <param name="modelType">The <c>model_type</c>, for messages.</param>
    /// <param name="ignored">Whether a checkpoint may contain a tensor that the model does not use.</param>
    /// <exception cref="NibbleException">A tensor is missing, has the wrong shape, is not floating-point, or does not belong to the model.</exception>
    public static void Require(Checkpoint checkpoint, IReadOnlyDictionary<string, long[]> expected, string modelType, Func<string, bool> ignored)
    {
        foreach (var (name, shape) in expected)
        {
            if (!checkpoint.Contains(name))
            {
                var suffix = name[(name.IndexOf('.', StringComparison.Ordinal) + 1)..];
                var instead = !suffix.Contains('.', StringComparison.Ordinal) ? null
                    : checkpoint.TensorNames.FirstOrDefault(other => other.EndsWith("." + suffix, StringComparison.Ordinal) && !expected.ContainsKey(other));
                throw new NibbleException(
                    $"{checkpoint.Folder}: the checkpoint lacks the tensor '{name}', which a model of type '{modelType}' "
                        + $"has{(instead is null ? string.Empty : $"; it has '{instead}', so it was saved as part of another model")}");
            }

            var entry = checkpoint.Entry(name);
            if (!entry.Shape.SequenceEqual(shape))
            {
                throw new NibbleException(
                    $"{checkpoint.Folder}: tensor '{name}' has shape [{string.Join(", ", entry.Shape)}], expected [{string.Join(", ", shape)}] from "
                    + $"config.json");
            }

            if (!entry.ElementType.IsFloatingPoint())
            {
                throw new NibbleException($"{checkpoint.Folder}: tensor '{name}' is {entry.ElementType}, expected F32, F16 or BF16");
            }
        }

        var unknown = checkpoint.TensorNames.FirstOrDefault(name => !expected.ContainsKey(name) && !ignored(name));
        if (unknown is not null)
        {
            throw new NibbleException(
                $"{checkpoint.Folder}: the checkpoint holds the tensor '{unknown}', which a model of type '{modelType}' with this config.json does not use");
        }
    }
}
