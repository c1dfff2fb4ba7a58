using System.Globalization;

namespace Nibble.Onnx.Graphs;

/// <summary>The type of a value of a graph, if it is a tensor.</summary>
/// <param name="Element">The type of its elements.</param>
/// <param name="Shape">Its sizes; null for each size that is free. Null if not even the number of axes is known.</param>
internal sealed record TensorType(OnnxType Element, IReadOnlyList<long?>? Shape)
{
    /// <summary>The number of axes. Null if unknown.</summary>
    public int? Rank => Shape?.Count;

    /// <summary>Reads the type of a value. Null if the file does not say it, or it is not a tensor.</summary>
    public static TensorType? Of(ValueInfoProto value) => value.Type is not { ValueCase: TypeProto.ValueOneofCase.TensorType, TensorType: var tensor } ? null
        : new TensorType(
            (OnnxType)tensor.ElemType,
            tensor.Shape is null ? null : [.. tensor.Shape.Dim.Select(
                size => size.ValueCase == TensorShapeProto.Types.Dimension.ValueOneofCase.DimValue ? size.DimValue : (long?)null)]);

    /// <summary>The type as it is stored with a value.</summary>
    public ValueInfoProto Describe(string value)
    {
        var tensor = new TypeProto.Types.Tensor { ElemType = (int)Element };
        if (Shape is not null)
        {
            tensor.Shape = new TensorShapeProto();
            tensor.Shape.Dim.AddRange(Shape.Select(
                size => size is { } known ? new TensorShapeProto.Types.Dimension { DimValue = known } : new TensorShapeProto.Types.Dimension()));
        }

        return new ValueInfoProto { Name = value, Type = new TypeProto { TensorType = tensor } };
    }

    /// <inheritdoc/>
    public override string ToString() =>
        $"{Element.Name()} [{(Shape is null ? "unknown" : string.Join(", ", Shape.Select(size => size?.ToString(CultureInfo.InvariantCulture) ?? "?")))}]";
}
