using Nibble.Files;
using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Formats.Gguf;

namespace Nibble.Tests.Formats.Gguf;

/// <summary>The shape of a model that is only to be quantized: a few rows of each matrix will do.</summary>
/// <param name="Architecture">Its architecture in llama.cpp.</param>
/// <param name="Blocks">Decoder blocks.</param>
/// <param name="Heads">Heads of queries.</param>
/// <param name="KeyHeads">Heads of keys and values.</param>
/// <param name="Tied">Whether the embedding is the head.</param>
/// <param name="Hidden">Columns of most matrices.</param>
/// <param name="Wide">Columns of the way back from the feed-forward layers.</param>
internal sealed record SyntheticShape(string Architecture, int Blocks, int Heads = 4, int KeyHeads = 4, bool Tied = false, int Hidden = 256, int Wide = 512);

/// <summary>Writes GGUF files of random weights that llama.cpp's quantizer takes for models.</summary>
internal static class SyntheticGguf
{
    private const int Rows = 2;

    public static void Write(string path, SyntheticShape shape)
    {
        var prefix = shape.Architecture + ".";
        var metadata = new List<KeyValuePair<string, GgufValue>>
        {
            new("general.architecture", GgufValue.Of(shape.Architecture)),
            new(prefix + "block_count", GgufValue.Of((uint)shape.Blocks)),
            new(prefix + "context_length", GgufValue.Of(128u)),
            new(prefix + "embedding_length", GgufValue.Of((uint)shape.Hidden)),
            new(prefix + "feed_forward_length", GgufValue.Of((uint)shape.Wide)),
            new(prefix + "attention.head_count", GgufValue.Of((uint)shape.Heads)),
            new(prefix + "attention.head_count_kv", GgufValue.Of((uint)shape.KeyHeads)),
            new(prefix + "attention.layer_norm_rms_epsilon", GgufValue.Of(1e-5f)),
            new(prefix + "vocab_size", GgufValue.Of((uint)Rows)),
        };
        var tensors = new List<GgufTensor> { Matrix("token_embd.weight", shape.Hidden) };
        for (var block = 0; block < shape.Blocks; block++)
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"blk.{block}.");
            tensors.Add(Vector(name + "attn_norm.weight", shape.Hidden));
            tensors.AddRange(((string[])["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"])
                .Select(part => Matrix(name + part + ".weight", shape.Hidden)));
            tensors.Add(Matrix(name + "ffn_down.weight", shape.Wide));
            tensors.Add(Vector(name + "ffn_norm.weight", shape.Hidden));
        }

        tensors.Add(Vector("output_norm.weight", shape.Hidden));
        if (!shape.Tied)
        {
            tensors.Add(Matrix("output.weight", shape.Hidden));
        }

        GgufWriter.Write(path, metadata, tensors);
    }

    private static GgufTensor Matrix(string name, int columns) => Tensor(name, [columns, Rows]);

    private static GgufTensor Vector(string name, int columns) => Tensor(name, [columns]);

    private static GgufTensor Tensor(string name, long[] dimensions) => new(name, GgufType.F32, dimensions, stream =>
    {
        var random = new Random(name.Length);
        float[] values = [.. Enumerable.Range(0, (int)dimensions.Aggregate(1L, (product, size) => product * size))
            .Select(_ => (random.NextSingle() - 0.5f) / 10)];
        stream.Write(MemoryMarshal.AsBytes(values.AsSpan()));
    });
}
