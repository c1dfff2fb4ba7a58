using Nibble.Formats;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;

namespace Nibble.Export;

/// <summary>Opens models on disk for export to another format.</summary>
internal static class ModelSources
{
    /// <summary>Opens a Hugging Face folder or an artifact.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="needsHead">Whether a checkpoint without the head of its task is rejected.</param>
    /// <exception cref="NibbleException">The folder holds neither.</exception>
    public static IFolderSource Open(string folder, bool needsHead = true)
    {
        QuantizedCheckpoint.RequireFloat(folder);
        if (QuantizedModelFile.IsArtifact(folder))
        {
            return new ArtifactSource(folder);
        }

        var checkpoint = Checkpoint.Open(folder);
        try
        {
            if (needsHead)
            {
                checkpoint.RequireHead();
            }

            return new CheckpointSource(checkpoint);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Rejects a model whose tensors are not exactly those of its configuration, by name and shape.</summary>
    /// <param name="source">The model.</param>
    /// <param name="expected">The tensors and their shapes.</param>
    /// <param name="modelType">The <c>model_type</c>, for messages.</param>
    /// <param name="ignored">Whether a checkpoint may hold a tensor with a name although the model does not use it.</param>
    /// <exception cref="NibbleException">A tensor is missing, has the wrong shape or is not part of the model.</exception>
    public static void RequireExactly(IFolderSource source, IReadOnlyDictionary<string, long[]> expected, string modelType, Func<string, bool> ignored)
    {
        if (source is CheckpointSource { Checkpoint: var checkpoint })
        {
            CheckpointTensors.Require(checkpoint, expected, modelType, ignored);
            return;
        }

        const string Suffix = ".weight";
        var layers = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (name, shape) in expected)
        {
            var layer = shape.Length == 2 && name.EndsWith(Suffix, StringComparison.Ordinal) ? source.SizeOf(name[..^Suffix.Length]) : null;
            if (layer is not null)
            {
                layers.Add(name[..^Suffix.Length]);
            }

            var found = layer is var (rows, columns) ? [rows, columns] : source.Float(name)?.Shape
                ?? throw new NibbleException($"{source.Place}: the artifact lacks the tensor '{name}', which a model of type '{modelType}' has");
            if (!found.SequenceEqual(shape))
            {
                throw new NibbleException(
                    $"{source.Place}: tensor '{name}' has shape [{string.Join(", ", found)}], expected [{string.Join(", ", shape)}] from config.json");
            }
        }

        if (source.Names.FirstOrDefault(name => !layers.Contains(name) && !expected.ContainsKey(name)) is { } unknown)
        {
            throw new NibbleException(
                $"{source.Place}: the artifact holds '{unknown}', which a model of type '{modelType}' with this config.json does not use");
        }
    }
}
