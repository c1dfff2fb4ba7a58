using Google.Protobuf;

namespace Nibble.Onnx.Graphs;

/// <summary>Reads and makes the attributes of nodes.</summary>
internal static class NodeAttributes
{
    /// <summary>An attribute. Null if the node does not have it.</summary>
    public static AttributeProto? Attribute(this NodeProto node, string name) => node.Attribute.FirstOrDefault(attribute => attribute.Name == name);

    /// <summary>An integer attribute.</summary>
    /// <param name="node">The node.</param>
    /// <param name="name">The attribute's name.</param>
    /// <param name="otherwise">Its value if the node does not have it.</param>
    public static long Integer(this NodeProto node, string name, long otherwise) => node.Attribute(name)?.I ?? otherwise;

    /// <summary>A float attribute.</summary>
    /// <inheritdoc cref="Integer"/>
    public static float Float(this NodeProto node, string name, float otherwise) => node.Attribute(name)?.F ?? otherwise;

    /// <summary>A text attribute.</summary>
    /// <inheritdoc cref="Integer"/>
    public static string Text(this NodeProto node, string name, string otherwise) => node.Attribute(name)?.S.ToStringUtf8() ?? otherwise;

    /// <summary>A list of integers. Null if the node does not have it.</summary>
    public static IReadOnlyList<long>? Integers(this NodeProto node, string name) => node.Attribute(name)?.Ints;

    /// <summary>Makes an integer attribute.</summary>
    public static AttributeProto Make(string name, long value) => new() { Name = name, Type = AttributeProto.Types.AttributeType.Int, I = value };

    /// <summary>Makes a float attribute.</summary>
    public static AttributeProto Make(string name, float value) => new() { Name = name, Type = AttributeProto.Types.AttributeType.Float, F = value };

    /// <summary>Makes a text attribute.</summary>
    public static AttributeProto Make(string name, string value) =>
        new() { Name = name, Type = AttributeProto.Types.AttributeType.String, S = ByteString.CopyFromUtf8(value) };

    /// <summary>Makes a list of integers.</summary>
    public static AttributeProto Make(string name, IEnumerable<long> values) =>
        new() { Name = name, Type = AttributeProto.Types.AttributeType.Ints, Ints = { values } };
}
