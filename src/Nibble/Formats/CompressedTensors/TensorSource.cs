using Nibble.Files;
using Nibble.Formats.Safetensors;

namespace Nibble.Formats.CompressedTensors;

/// <summary>A safetensors file whose tensors must have the expected type and shape, and must each be read exactly once.</summary>
internal sealed class TensorSource(SafetensorsFile file)
{
    private readonly HashSet<string> read = new(StringComparer.Ordinal);

    /// <summary>The file, for messages.</summary>
    public string Path => file.Path;

    /// <summary>Finds a tensor by name.</summary>
    public SafetensorsEntry Entry(string name) => file.Entry(name);

    /// <summary>Reads a tensor's bytes.</summary>
    public byte[] Bytes(string name, ElementType type, ReadOnlySpan<long> shape)
    {
        Require(name, type, shape);
        return file.ReadBytes(name);
    }

    /// <summary>Reads a tensor's values.</summary>
    public float[] Floats(string name, ElementType type, ReadOnlySpan<long> shape)
    {
        Require(name, type, shape);
        return file.ReadFloats(name);
    }

    /// <summary>Counts a tensor as read.</summary>
    /// <exception cref="NibbleException">There is no such tensor, or it was read already.</exception>
    public void Mark(string name)
    {
        file.Entry(name);
        if (!read.Add(name))
        {
            throw Fault(name, "the model names the tensor twice");
        }
    }

    /// <summary>Throws if the file has tensors that were not read.</summary>
    public void RequireAllRead()
    {
        if (file.Tensors.FirstOrDefault(tensor => !read.Contains(tensor.Name)) is { } unknown)
        {
            throw Fault(unknown.Name, "the tensor belongs to no layer of the model");
        }
    }

    /// <summary>Creates an exception that names the file and a tensor or layer.</summary>
    public NibbleException Fault(string name, string message) => new($"{file.Path}, {name}: {message}.");

    private void Require(string name, ElementType type, ReadOnlySpan<long> shape)
    {
        var entry = file.Entry(name);
        if (entry.ElementType != type || !shape.SequenceEqual([.. entry.Shape]))
        {
            throw Fault(name, $"expected {type} [{string.Join(", ", shape.ToArray())}], found {entry.ElementType} [{string.Join(", ", entry.Shape)}]");
        }

        Mark(name);
    }
}
