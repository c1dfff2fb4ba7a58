using System.Globalization;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace Nibble.Onnx.Data;

/// <summary>An input that a model expects.</summary>
/// <param name="Name">The name in the graph.</param>
/// <param name="Type">The type of the elements.</param>
/// <param name="Shape">The size of each axis. Null for a free size.</param>
internal sealed record GraphInput(string Name, TensorElementType Type, IReadOnlyList<long?> Shape)
{
    /// <summary>The type and the sizes, for messages, such as <c>float [?, 3, 224, 224]</c>.</summary>
    public string Text => $"{TensorKind.NameOf(Type)} [{string.Join(", ", Shape.Select(size => size?.ToString(CultureInfo.InvariantCulture) ?? "?"))}]";

    /// <summary>Whether the first axis can have any size, so that samples can be joined along it.</summary>
    public bool HasFreeBatch => Shape is [null, ..];

    /// <summary>The sizes of a tensor for this input, with a batch axis of 1 put before sizes that lack it.</summary>
    /// <param name="found">The sizes that the data has.</param>
    /// <param name="place">The origin of the data, for messages.</param>
    /// <exception cref="NibbleException">The input does not take these sizes, or they are too large for one tensor.</exception>
    public int[] Fit(IReadOnlyList<long> found, string place)
    {
        var sizes = found.Count == Shape.Count - 1 && Shape[0] is null or 1 ? [1, .. found] : found;
        if (sizes.Count != Shape.Count || sizes.Zip(Shape).Any(pair => pair.First < 1 || (pair.Second is { } size && size != pair.First)))
        {
            throw new NibbleException($"{place}: input '{Name}' gets the sizes [{string.Join(", ", found)}], expected {Text}");
        }

        return TensorKind.RequireSize(sizes, $"{place}: input '{Name}'");
    }

    /// <summary>The sizes of a tensor that data does not decide: a free batch axis is 1.</summary>
    /// <param name="what">What the tensor is for, for messages.</param>
    /// <exception cref="NibbleException">Another axis has a free size.</exception>
    public int[] FixedSizes(string what)
    {
        var sizes = Shape.Select((size, axis) => size ?? (axis == 0 ? 1L : throw new NibbleException(
            $"Input '{Name}' is {Text}: the size of axis {axis} is free, and {what} do not decide it. Fix the shape, for example {Example()}"))).ToList();
        return sizes.Contains(0)
            ? throw new NibbleException($"Input '{Name}' is {Text}: it has no elements")
            : TensorKind.RequireSize(sizes, $"Input '{Name}'");
    }

    /// <summary>A text that fixes the shape, for messages.</summary>
    private string Example() => $"{Name}={string.Join('x', Shape.Select((size, axis) => size ?? (axis == 0 ? 1 : 16)))}";
}
