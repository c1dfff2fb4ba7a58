using Nibble.Models.Llama;
using Nibble.Torch.Layers;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Llama;

/// <summary>Grouped-query attention (Ainslie et al. 2023) with rotary positions.</summary>
internal sealed class LlamaAttention : nn.Module
{
    private const int SmallestFastHead = 16;

    private readonly LlamaConfig config;
    private readonly RotaryTable rotary;
    private readonly QuantizableLinear q_proj;
    private readonly QuantizableLinear k_proj;
    private readonly QuantizableLinear v_proj;
    private readonly QuantizableLinear o_proj;
    private readonly RmsNorm? q_norm;
    private readonly RmsNorm? k_norm;

    public LlamaAttention(LlamaConfig config, RotaryTable rotary)
        : base(nameof(LlamaAttention))
    {
        this.config = config;
        this.rotary = rotary;
        q_proj = new QuantizableLinear(config.HiddenSize, config.Heads * config.HeadSize, config.QueryKeyValueBias);
        k_proj = new QuantizableLinear(config.HiddenSize, config.KeyValueHeads * config.HeadSize, config.QueryKeyValueBias);
        v_proj = new QuantizableLinear(config.HiddenSize, config.KeyValueHeads * config.HeadSize, config.QueryKeyValueBias);
        o_proj = new QuantizableLinear(config.Heads * config.HeadSize, config.HiddenSize, config.OutputBias);
        if (config.QueryKeyNorm)
        {
            q_norm = new RmsNorm(config.HeadSize, config.NormEpsilon);
            k_norm = new RmsNorm(config.HeadSize, config.NormEpsilon);
        }

        RegisterComponents();
    }

    public QuantizableLinear Query => q_proj;

    public QuantizableLinear Key => k_proj;

    public QuantizableLinear Value => v_proj;

    public QuantizableLinear Output => o_proj;

    /// <summary>Query heads that share the keys and values of one head; query head h reads key-value head h / share.</summary>
    public int Share => config.Heads / config.KeyValueHeads;

    /// <summary>Heads of keys and values.</summary>
    public int KeyValueHeads => config.KeyValueHeads;

    /// <summary>Values of a head.</summary>
    public int HeadSize => config.HeadSize;

    /// <summary>Turns queries and keys after their rotary embedding, which changes no product of theirs but spreads the keys' outliers; null leaves them as
    /// they are.</summary>
    public HadamardTransform? HeadRotation { get; set; }

    /// <summary>What happens to keys after their rotation, [batch, key-value heads, length, head size]; null uses them as they are.</summary>
    public ITensorQuantizer? KeyQuantizer { get; set; }

    /// <summary>What happens to values, [batch, key-value heads, length, head size]; null uses them as they are.</summary>
    public ITensorQuantizer? ValueQuantizer { get; set; }

    /// <summary>The mixed values that the output projection reads, [batch, length, heads x head size].</summary>
    public Tensor Mix(Tensor x, int start, KeyValueCache? cache, int layer)
    {
        var (batch, length) = (x.shape[0], x.shape[1]);
        var projected = QuantizableLinear.Project(x, q_proj, k_proj, v_proj);
        var q = Rotate(Heads(projected[0], q_norm), start);
        var k = Rotate(Heads(projected[1], k_norm), start);
        var v = Heads(projected[2], null);
        if (HeadRotation is { } turn)
        {
            (q, k) = (turn.Apply(q), turn.Apply(k));
        }

        k = KeyQuantizer?.Apply(k) ?? k;
        v = ValueQuantizer?.Apply(v) ?? v;
        if (cache is not null)
        {
            (k, v) = cache.Append(layer, k, v);
        }

        if (Share > 1)
        {
            k = k.repeat_interleave(Share, 1);
            v = v.repeat_interleave(Share, 1);
        }

        // With a cache, position i of these may see the start + i before it; is_causal would count from 0.
        using var mask = start > 0 && length > 1 ? ones(length, start + length, dtype: ScalarType.Bool, device: x.device).tril(start) : null;
        return Attend(q, k, v, mask, start == 0 && length > 1).transpose(1, 2).reshape(batch, length, -1);
    }

    /// <summary>Scaled dot-product attention.</summary>
    /// <remarks>
    /// For very small heads the products inside take a slow path of libtorch's BLAS: heads of 8 filled up with zeros to 16 take half the time, forward and
    /// backward, and
    /// change nothing but the factor that the kernel derives from the head's size.
    /// </remarks>
    private Tensor Attend(Tensor q, Tensor k, Tensor v, Tensor? mask, bool causal)
    {
        if (config.HeadSize >= SmallestFastHead)
        {
            return F.scaled_dot_product_attention(q, k, v, attn_mask: mask, is_casual: causal);
        }

        Tensor Fill(Tensor x) => F.pad(x, (0, SmallestFastHead - config.HeadSize));
        var scaled = q * Math.Sqrt((double)SmallestFastHead / config.HeadSize);
        return F.scaled_dot_product_attention(Fill(scaled), Fill(k), Fill(v), attn_mask: mask, is_casual: causal).narrow(-1, 0, config.HeadSize);
    }

    /// <summary>The keys before their rotation, [batch, key-value heads, length, head size].</summary>
    public Tensor UnrotatedKeys(Tensor x) => Heads(k_proj.forward(x), k_norm);

    /// <summary>Turns keys or queries to the positions from <paramref name="start"/> on.</summary>
    public Tensor Rotate(Tensor heads, int start) => rotary.Rotate(heads, start);

    private Tensor Heads(Tensor x, RmsNorm? headNorm)
    {
        var split = x.view(x.shape[0], x.shape[1], -1, config.HeadSize);
        return (headNorm?.forward(split) ?? split).transpose(1, 2);
    }
}
