using Nibble.Tests.Files;
using Nibble.Files;
using Nibble.Formats.Gguf;

namespace Nibble.Tests.Formats.Gguf;

/// <summary>Small GGUF files with every kind of metadata.</summary>
internal static class AnyGguf
{
    public static KeyValuePair<string, GgufValue>[] Metadata { get; } =
    [
        new("general.architecture", GgufValue.Of("llama")),
        new("llama.block_count", GgufValue.Of(5u)),
        new("llama.epsilon", GgufValue.Of(1e-5f)),
        new("tokenizer.add", GgufValue.Of(true)),
        new("tokenizer.tokens", GgufValue.Of(["<s>", "é", string.Empty])),
        new("tokenizer.scores", GgufValue.Of([0f, -1.5f, 2])),
        new("tokenizer.types", GgufValue.Of([3, 1, -1])),
    ];

    public static GgufTensor[] Tensors { get; } =
    [
        Tensor("a.weight", GgufType.Q8_0, [64, 2], 1),
        Tensor("b.weight", GgufType.F32, [3], 2),
        Tensor("c.weight", GgufType.F16, [2, 1, 3], 3),
        Tensor("d.weight", GgufType.Q4_K, [256], 4),
    ];

    public static byte[] Bytes { get; } = Write(Metadata, Tensors);

    public static byte[] Write(IReadOnlyList<KeyValuePair<string, GgufValue>> metadata, IReadOnlyList<GgufTensor> tensors)
    {
        using var folder = new TemporaryFolder();
        GgufWriter.Write(folder.File("any.gguf"), metadata, tensors);
        return File.ReadAllBytes(folder.File("any.gguf"));
    }

    public static GgufTensor Tensor(string name, GgufType type, long[] dimensions, byte fill) => new(name, type, dimensions, stream =>
    {
        var bytes = new byte[type.CountBytes(dimensions)!.Value];
        Array.Fill(bytes, fill);
        stream.Write(bytes);
    });
}
