using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Decoders;

/// <summary>Grouped-query attention (Ainslie et al. 2023), in most layers with rotary positions.</summary>
internal sealed class DecoderAttention : nn.Module
{
    private const int SmallestFastHead = 16;

    private readonly DecoderConfig config;
    private readonly int? window;
    private readonly RotaryTable? rotary;
    private readonly QuantizableLinear? q_proj;
    private readonly QuantizableLinear? k_proj;
    private readonly QuantizableLinear? v_proj;
    private readonly QuantizableLinear? qkv_proj;
    private readonly QuantizableLinear o_proj;
    private readonly RmsNorm? q_norm;
    private readonly RmsNorm? k_norm;

    public DecoderAttention(DecoderConfig config, DecoderLayer layer, RotaryTables tables)
        : base(nameof(DecoderAttention))
    {
        this.config = config;
        window = layer.Window;
        rotary = tables.Of(layer);
        var (queries, keys) = (config.Heads * config.HeadSize, config.KeyValueHeads * config.HeadSize);
        QuantizableLinear Project(int rows) => new(config.HiddenSize, rows, config.QueryKeyValueBias);
        if (config.HasFusedProjections)
        {
            qkv_proj = Project(queries + (2 * keys));
            Inputs = [new(nameof(qkv_proj), qkv_proj)];
            Query = new LinearRows(qkv_proj, 0, queries);
            Key = new LinearRows(qkv_proj, queries, keys);
            Value = new LinearRows(qkv_proj, queries + keys, keys);
        }
        else
        {
            (q_proj, k_proj, v_proj) = (Project(queries), Project(keys), Project(keys));
            Inputs = [new(nameof(q_proj), q_proj), new(nameof(k_proj), k_proj), new(nameof(v_proj), v_proj)];
            (Query, Key, Value) = (new LinearRows(q_proj), new LinearRows(k_proj), new LinearRows(v_proj));
        }

        o_proj = new QuantizableLinear(queries, config.HiddenSize, config.OutputBias);
        if (config.QueryKeyNorm != QueryKeyNorm.None)
        {
            RmsNorm Norm(int heads) =>
                new(config.QueryKeyNorm == QueryKeyNorm.AllHeads ? heads * config.HeadSize : config.HeadSize, config.NormEpsilon, config.NormsAddOne);
            q_norm = Norm(config.Heads);
            k_norm = Norm(config.KeyValueHeads);
        }

        RegisterComponents();
    }

    /// <summary>The layers of queries, keys and values with their names, three or one.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Inputs { get; }

    public LinearRows Query { get; }

    public LinearRows Key { get; }

    public LinearRows Value { get; }

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
        var (queries, keys, values) = Project(x);
        var q = Rotate(Heads(queries, q_norm), start);
        var k = Rotate(Heads(keys, k_norm), start);
        var v = Heads(values, null);
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

        if (config.AttentionScale is { } scale)
        {
            // The kernel divides by the root of the head size.
            q = q.Times(scale * Math.Sqrt(config.HeadSize));
        }

        using var mask = Mask(start, length, x.device);
        var mixed = config.AttentionCap is { } cap ? Capped(q, k, v, mask, cap) : Attend(q, k, v, mask, mask is null && length > 1);
        return mixed.transpose(1, 2).reshape(batch, length, -1);
    }

    /// <summary>The keys before the rotary embedding, [batch, key-value heads, length, head size].</summary>
    public Tensor UnrotatedKeys(Tensor x) => Heads(Key.Forward(x), k_norm);

    /// <summary>Applies the rotary embedding to keys or queries for the positions from <paramref name="start"/>.</summary>
    public Tensor Rotate(Tensor heads, int start) => rotary?.Rotate(heads, start) ?? heads;

    private (Tensor Queries, Tensor Keys, Tensor Values) Project(Tensor x)
    {
        if (qkv_proj is not null)
        {
            var all = qkv_proj.forward(x);
            Tensor Part(LinearRows rows) => all.narrow(-1, rows.First, rows.Count);
            return (Part(Query), Part(Key), Part(Value));
        }

        var projected = QuantizableLinear.Project(x, q_proj!, k_proj!, v_proj!);
        return (projected[0], projected[1], projected[2]);
    }

    /// <summary>
    /// The positions that each position attends to, [length, start + length]. Null if they are those up to itself in a text that starts here, or if there is
    /// one position, which attends to all.
    /// </summary>
    private Tensor? Mask(int start, long length, Device device)
    {
        // With a cache, position i attends to the start + i positions before it. is_causal would count from 0.
        var slides = window is { } width && start + length > width;
        if (!slides && (start == 0 || length == 1))
        {
            return null;
        }

        using var scope = NewDisposeScope();
        var visible = ones(length, start + length, dtype: ScalarType.Bool, device: device).tril(start);
        return (slides ? visible.triu(start - window!.Value + 1) : visible).MoveToOuterDisposeScope();
    }

    /// <summary>Scaled dot-product attention whose scores s become cap x tanh(s / cap) (Gemma 2).</summary>
    private Tensor Capped(Tensor q, Tensor k, Tensor v, Tensor? mask, double cap)
    {
        var scores = q.matmul(k.transpose(-1, -2)).DividedBy(Math.Sqrt(config.HeadSize) * cap).tanh().Times(cap);
        var visible = mask ?? ones(q.shape[2], k.shape[2], dtype: ScalarType.Bool, device: q.device).tril(k.shape[2] - q.shape[2]);
        return F.softmax(scores.MaskedFill(visible.logical_not(), double.NegativeInfinity), -1).matmul(v);
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

    private Tensor Heads(Tensor x, RmsNorm? norm)
    {
        var whole = norm is not null && config.QueryKeyNorm == QueryKeyNorm.AllHeads;
        var split = (whole ? norm!.forward(x) : x).view(x.shape[0], x.shape[1], -1, config.HeadSize);
        return (whole ? split : norm?.forward(split) ?? split).transpose(1, 2);
    }
}
