namespace Nibble.Models.Decoders;

/// <summary>How the attention of a layer sees positions.</summary>
/// <param name="Rotary">The rotary embedding of queries and keys; null for none.</param>
/// <param name="Window">The number of positions that attention looks back over, itself included; null for all.</param>
public sealed record DecoderLayer(RotaryEmbedding? Rotary, int? Window = null);

/// <summary>The names of a block's norms, which also say where the block has one; null where it has none.</summary>
/// <param name="BeforeAttention">The norm of attention's input.</param>
/// <param name="AfterAttention">The norm of attention's output, before it is added to the residual stream.</param>
/// <param name="BeforeFeedForward">The norm of the feed-forward part's input.</param>
/// <param name="AfterFeedForward">The norm of the feed-forward part's output, before it is added to the residual stream.</param>
public sealed record DecoderNorms(string? BeforeAttention, string? AfterAttention, string? BeforeFeedForward, string? AfterFeedForward)
{
    /// <summary>Norms of inputs, as in Llama.</summary>
    public static DecoderNorms OfInputs { get; } = new("input_layernorm", null, "post_attention_layernorm", null);

    /// <summary>Norms of outputs, as in OLMo 2.</summary>
    public static DecoderNorms OfOutputs { get; } = new(null, "post_attention_layernorm", null, "post_feedforward_layernorm");

    /// <summary>Norms of inputs and outputs, as in Gemma 2.</summary>
    public static DecoderNorms OfBoth { get; } =
        new("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm");

    /// <summary>All names, in the order of computation.</summary>
    public IEnumerable<string> Names => ((string?[])[BeforeAttention, AfterAttention, BeforeFeedForward, AfterFeedForward]).OfType<string>();

    /// <summary>Whether an output is normalized before it is added to the residual stream.</summary>
    public bool HasOutputs => AfterAttention is not null || AfterFeedForward is not null;
}

/// <summary>The norm of queries and keys before their rotary embedding.</summary>
public enum QueryKeyNorm
{
    /// <summary>None.</summary>
    None,

    /// <summary>Each head by itself, with one weight for all heads, as in Qwen3.</summary>
    EachHead,

    /// <summary>All heads together, as in OLMo 2.</summary>
    AllHeads,
}

/// <summary>The function of the gate in the feed-forward part.</summary>
public enum DecoderActivation
{
    /// <summary>x / (1 + exp(-x)), as in SwiGLU (Shazeer 2020).</summary>
    Silu,

    /// <summary>GELU (Hendrycks and Gimpel 2016), with the hyperbolic tangent: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).</summary>
    GeluTanh,
}
