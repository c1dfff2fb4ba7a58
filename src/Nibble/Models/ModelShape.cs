
namespace Nibble.Models;

/// <summary>The sizes of a model that its costs depend on.</summary>
/// <param name="Name">The model's name.</param>
/// <param name="Blocks">The number of blocks.</param>
/// <param name="Hidden">Channels of the residual stream.</param>
/// <param name="Inner">Channels inside the feed-forward layers.</param>
/// <param name="KeyValue">Channels of keys, and of values: key-value heads times head size.</param>
/// <param name="Vocabulary">Tokens of the vocabulary.</param>
/// <param name="TiedHead">Whether the head shares the embedding's weights.</param>
public sealed record ModelShape(string Name, int Blocks, int Hidden, int Inner, int KeyValue, int Vocabulary, bool TiedHead)
{
    /// <summary>Well-known sizes, from the public configurations of Llama 3.2 1B, Llama 3.1 8B and 70B.</summary>
    public static IReadOnlyList<ModelShape> Known { get; } =
    [
        new("1B", 16, 2048, 8192, 512, 128_256, TiedHead: true),
        new("8B", 32, 4096, 14_336, 1024, 128_256, TiedHead: false),
        new("70B", 80, 8192, 28_672, 1024, 128_256, TiedHead: false),
    ];

    /// <summary>Channels of all heads' queries; <see cref="Hidden"/> unless the head size is set separately.</summary>
    public int Query { get; init; } = Hidden;

    /// <summary>Whether the feed-forward part multiplies two projections, as in decoders.</summary>
    public bool IsGated { get; init; } = true;

    /// <summary>Whether the model computes logits of the whole vocabulary, as decoders do.</summary>
    public bool HasHead { get; init; } = true;

    /// <summary>A block's inputs, with the rows of all layers that read each: query, key and value; output; gate and up; down.</summary>
    public IReadOnlyList<(int Columns, int Rows)> Inputs =>
        [(Hidden, Query + (2 * KeyValue)), (Query, Hidden), (Hidden, (IsGated ? 2 : 1) * Inner), (Inner, Hidden)];

    /// <summary>Weights of a block's linear layers.</summary>
    public long BlockWeights => Inputs.Sum(input => (long)input.Columns * input.Rows);

    /// <summary>Weights of all blocks' linear layers, which presets quantize.</summary>
    public long LinearWeights => Blocks * BlockWeights;

    /// <summary>Weights of the head.</summary>
    public long HeadWeights => HasHead ? (long)Vocabulary * Hidden : 0;

    /// <summary>All parameters, including norms.</summary>
    public long Parameters => LinearWeights + ((long)Vocabulary * Hidden * (TiedHead ? 1 : 2)) + (Hidden * ((2L * Blocks) + 1));
}
