using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Decoders;

/// <summary>Grouped-query attention (Ainslie et al. 2023) with rotary positions.</summary>
internal sealed class DecoderAttention : nn.Module
{
    private const int SmallestFastHead = 16;

    private readonly DecoderConfig config;
    private readonly RotaryTable rotary;
    private readonly QuantizableLinear q_proj;
    private readonly QuantizableLinear k_proj;
    private readonly QuantizableLinear v_proj;
    private readonly QuantizableLinear o_proj;
    private readonly RmsNorm? q_norm;
    private readonly RmsNorm? k_norm;

    public DecoderAttention(DecoderConfig config, RotaryTable rotary)
        : base(nameof(DecoderAttention))
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

    /// <summary>The number of query heads that share one key-value head. Query head h reads key-value head h / share.</summary>
    public int Share => config.Heads / config.KeyValueHeads;

    /// <summary>The number of key-value heads.</summary>
    public int KeyValueHeads => config.KeyValueHeads;

    /// <summary>The size of a head.</summary>
    public int HeadSize => config.HeadSize;

    /// <summary>
    /// Rotates queries and keys after their rotary embedding. This changes none of their products but spreads the keys' outliers. Null leaves them unchanged.
    /// </summary>
    public HadamardTransform? HeadRotation { get; set; }

    /// <summary>The quantizer of the rotated keys, [batch, key-value heads, length, head size]. Null leaves them unchanged.</summary>
    public ITensorQuantizer? KeyQuantizer { get; set; }

    /// <summary>The quantizer of the values, [batch, key-value heads, length, head size]. Null leaves them unchanged.</summary>
    public ITensorQuantizer? ValueQuantizer { get; set; }

    /// <summary>The attention output before the output projection, [batch, length, heads x head size].</summary>
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

        // With a cache, position i attends to the start + i positions before it. is_causal would count from 0.
        using var mask = start > 0 && length > 1 ? ones(length, start + length, dtype: ScalarType.Bool, device: x.device).tril(start) : null;
        return Attend(q, k, v, mask, start == 0 && length > 1).transpose(1, 2).reshape(batch, length, -1);
    }

    /// <summary>Scaled dot-product attention.</summary>
    /// <remarks>
    /// For very small heads, libtorch's BLAS takes a slow path. Padding heads of size 8 with zeros to 16 halves the time of forward and backward passes. The
    /// result stays the same once the factor that the kernel derives from the head size is corrected.
    /// </remarks>
    private Tensor Attend(Tensor q, Tensor k, Tensor v, Tensor? mask, bool causal)
    {
        if (config.HeadSize >= SmallestFastHead)
        {
            return F.scaled_dot_product_attention(q, k, v, attn_mask: mask, is_casual: causal);
        }

        Tensor Fill(Tensor x) => F.pad(x, (0, SmallestFastHead - config.HeadSize));
        var scaled = q.Times(Math.Sqrt((double)SmallestFastHead / config.HeadSize));
        return F.scaled_dot_product_attention(Fill(scaled), Fill(k), Fill(v), attn_mask: mask, is_casual: causal).narrow(-1, 0, config.HeadSize);
    }

    /// <summary>The keys before the rotary embedding, [batch, key-value heads, length, head size].</summary>
    public Tensor UnrotatedKeys(Tensor x) => Heads(k_proj.forward(x), k_norm);

    /// <summary>Applies the rotary embedding to keys or queries for the positions from <paramref name="start"/>.</summary>
    public Tensor Rotate(Tensor heads, int start) => rotary.Rotate(heads, start);

    private Tensor Heads(Tensor x, RmsNorm? headNorm)
    {
        var split = x.view(x.shape[0], x.shape[1], -1, config.HeadSize);
        return (headNorm?.forward(split) ?? split).transpose(1, 2);
    }
}
