using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Models.Decoders;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Families;

/// <summary>Builds the graph of a decoder with a key-value cache.</summary>
/// <remarks>
/// Inputs and outputs have the names that Hugging Face's optimum uses: <c>input_ids</c>, <c>attention_mask</c> (1 for tokens, past and new ones) and
/// <c>position_ids</c>, int64; <c>past_key_values.N.key</c> and <c>.value</c>, [batch, key-value heads, past, head size], with a past of 0 at the start;
/// <c>logits</c> and <c>present.N.key</c> and <c>.value</c>. The formulas are those of <c>DecoderModel</c> in Nibble.Torch, in float32.
/// </remarks>
internal sealed class DecoderGraph
{
    private const string Batch = "batch_size";
    private const string Sequence = "sequence_length";
    private const string Past = "past_sequence_length";
    private const string Total = "total_sequence_length";

    private readonly DecoderConfig shape;
    private readonly ModelTensors tensors;
    private readonly GraphBuilder graph = new();
    private readonly LinearNodes linear;

    private DecoderGraph(DecoderConfig shape, ModelTensors tensors, MatMulAccuracy accuracy)
    {
        this.shape = shape;
        this.tensors = tensors;
        linear = new LinearNodes(graph, tensors, accuracy);
    }

    /// <summary>Builds the graph of a model.</summary>
    /// <exception cref="NibbleException">The tensors do not match the shape, or the graph cannot express their quantization.</exception>
    /// <returns>The graph, and the number of linear layers in each form.</returns>
    public static ModelGraph Build(DecoderConfig shape, ModelTensors tensors, MatMulAccuracy accuracy)
    {
        if (tensors.Manifest is { Recipe: { KeyValueCache: not null } recipe })
        {
            throw new NibbleException(
                $"{tensors.Place}: the recipe '{recipe.Name}' quantizes the key-value cache, but the graph keeps it in float. Quantize without it to export");
        }

        var builder = new DecoderGraph(shape, tensors, accuracy);
        builder.Build();

        // Old checkpoints hold the rotary frequencies, and some hold a head that repeats the embedding.
        tensors.RequireAllUsed(name =>
            name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal) || (shape.TiedHead && name == "lm_head.weight" && tensors.Manifest is null));
        return new ModelGraph(builder.graph, builder.linear.Forms);
    }

    private void Build()
    {
        var ids = graph.Input("input_ids", OnnxType.Int64, Batch, Sequence);
        var mask = graph.Input("attention_mask", OnnxType.Int64, Batch, Total);
        var positions = graph.Input("position_ids", OnnxType.Int64, Batch, Sequence);
        var embedding = new FloatConstant(graph, tensors.Float("model.embed_tokens.weight", shape.VocabularySize, shape.HiddenSize));
        graph.Scope = "model";
        var x = embedding.Widen(graph.Node("Gather", [embedding.Name, ids]));
        x = Scaled(x, shape.EmbeddingScale);
        var layers = shape.LayerPattern.Distinct().ToList();
        var biases = layers.Select(layer => layer.Window ?? shape.SlidingWindow).Distinct()
            .ToDictionary(window => window ?? 0, window => MaskBias(ids, mask, window));
        var rotations = layers.Select(layer => layer.Rotary).OfType<RotaryEmbedding>().Distinct()
            .Select((rotary, number) => (Rotary: rotary, Tables: Rotation(positions, rotary, number))).ToDictionary(item => item.Rotary, item => item.Tables);
        for (var i = 0; i < shape.Layers; i++)
        {
            var layer = shape.LayerOf(i);
            x = Block(x, i, biases[layer.Window ?? shape.SlidingWindow ?? 0], layer.Rotary is { } rotary ? rotations[rotary] : null);
        }

        graph.Scope = "model.norm";
        x = Norm(x, "model.norm.weight", shape.HiddenSize);
        graph.Scope = "lm_head";
        var logits = shape.TiedHead
            ? graph.Node("MatMul", [x, graph.Node("Transpose", [embedding.Widen(embedding.Name)], ("perm", new long[] { 1, 0 }))])
            : linear.Apply(x, "lm_head", shape.VocabularySize, shape.HiddenSize, bias: false);
        logits = Scaled(logits, shape.LogitScale);
        graph.Output(shape.LogitCap is { } cap ? Capped(logits, 1, cap) : logits, "logits", OnnxType.Float32, Batch, Sequence, shape.VocabularySize);
    }

    /// <summary>
    /// The values added to attention scores, [batch, 1, 1, sequence, total]: 0 where a token may attend, and the lowest float elsewhere.
    /// </summary>
    private string MaskBias(string ids, string mask, int? sliding)
    {
        string Length(string value) => graph.Node("Squeeze", [graph.Node("Shape", [value], ("start", 1L), ("end", 2L)), graph.Integers(0)]);
        var total = Length(mask);
        var past = graph.Node("Sub", [total, Length(ids)]);
        var columns = graph.Node("Range", [graph.Integer(0), total, graph.Integer(1)]);
        var rows = graph.Node("Unsqueeze", [graph.Node("Range", [past, total, graph.Integer(1)]), graph.Integers(1)]);
        var visible = graph.Node("LessOrEqual", [columns, rows]);
        if (sliding is { } window)
        {
            visible = graph.Node("And", [visible, graph.Node("Greater", [columns, graph.Node("Sub", [rows, graph.Integer(window)])])]);
        }

        var tokens = graph.Node("Unsqueeze", [graph.Node("Cast", [mask], ("to", (long)OnnxType.Bool)), graph.Integers(1, 2, 3)]);
        return graph.Node("Where", [graph.Node("And", [tokens, visible]), graph.Float(0), graph.Float(float.MinValue)]);
    }

    /// <summary>The cosines and sines of the positions' angles, [batch, 1, sequence, channels].</summary>
    private (string Cosine, string Sine) Rotation(string positions, RotaryEmbedding rotary, int number)
    {
        float[] values = [.. rotary.Frequencies(), .. rotary.Frequencies()];
        var frequencies = graph.Initializer(
            number == 0 ? "rotary_frequencies" : string.Create(CultureInfo.InvariantCulture, $"rotary_frequencies_{number}"), OnnxType.Float32,
            [values.Length], stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
        var position = graph.Node("Unsqueeze", [graph.Node("Cast", [positions], ("to", (long)OnnxType.Float32)), graph.Integers(1, 3)]);
        var angles = graph.Node("Mul", [position, frequencies]);
        return (Scaled(graph.Node("Cos", [angles]), rotary.Magnitude), Scaled(graph.Node("Sin", [angles]), rotary.Magnitude));
    }

    private string Block(string x, int index, string bias, (string Cosine, string Sine)? rotation)
    {
        var prefix = string.Create(CultureInfo.InvariantCulture, $"model.layers.{index}");
        var norms = shape.Norms;
        x = Sum($"{prefix}.self_attn", x, Attention(BlockNorm(x, prefix, norms.BeforeAttention), prefix, index, bias, rotation), prefix, norms.AfterAttention);
        return Sum($"{prefix}.mlp", x, FeedForward(BlockNorm(x, prefix, norms.BeforeFeedForward), prefix), prefix, norms.AfterFeedForward);
    }

    private string BlockNorm(string x, string prefix, string? norm)
    {
        if (norm is null)
        {
            return x;
        }

        graph.Scope = $"{prefix}.{norm}";
        return Norm(x, $"{prefix}.{norm}.weight", shape.HiddenSize);
    }

    /// <summary>The residual stream with a part's output.</summary>
    private string Sum(string scope, string x, string output, string prefix, string? norm)
    {
        output = BlockNorm(output, prefix, norm);
        graph.Scope = scope;
        return graph.Node("Add", [x, Scaled(output, shape.ResidualScale)]);
    }

    private string Scaled(string x, double factor) => factor == 1 ? x : graph.Node("Mul", [x, graph.Float((float)factor)]);

    /// <summary>cap x tanh(x scale / cap).</summary>
    private string Capped(string x, double scale, double cap) => Scaled(graph.Node("Tanh", [graph.Node("Mul", [x, graph.Float((float)(scale / cap))])]), cap);

    private string Attention(string x, string prefix, int index, string bias, (string Cosine, string Sine)? rotation)
    {
        var name = $"{prefix}.self_attn";
        var share = shape.Heads / shape.KeyValueHeads;
        var (q, k, v) = Projected(x, name);
        q = Heads(q, shape.Heads, $"{name}.q_norm");
        k = Heads(k, shape.KeyValueHeads, $"{name}.k_norm");
        v = Heads(v, shape.KeyValueHeads, null);
        graph.Scope = name;
        var rotary = shape.LayerOf(index).Rotary;
        q = rotation is { } turned ? Rotate(q, turned, rotary!) : q;
        k = Cached(rotation is { } also ? Rotate(k, also, rotary!) : k, index, "key");
        v = Cached(v, index, "value");

        // Query heads that share a key-value head are adjacent, and the products broadcast over them.
        var scale = shape.AttentionScale ?? (1 / Math.Sqrt(shape.HeadSize));
        q = graph.Node("Reshape",
            [graph.Node("Mul", [q, graph.Float((float)scale)]), graph.Integers(0, shape.KeyValueHeads, share, -1, shape.HeadSize)]);
        k = graph.Node("Unsqueeze", [graph.Node("Transpose", [k], ("perm", new long[] { 0, 1, 3, 2 })), graph.Integers(2)]);
        v = graph.Node("Unsqueeze", [v, graph.Integers(2)]);
        var scores = graph.Node("MatMul", [q, k]);
        scores = shape.AttentionCap is { } cap ? Capped(scores, 1, cap) : scores;
        var weights = graph.Node("Softmax", [graph.Node("Add", [scores, bias])], ("axis", -1L));
        var mixed = graph.Node("Reshape", [graph.Node("MatMul", [weights, v]), graph.Integers(0, shape.Heads, -1, shape.HeadSize)]);
        mixed = graph.Node("Reshape",
            [graph.Node("Transpose", [mixed], ("perm", new long[] { 0, 2, 1, 3 })), graph.Integers(0, 0, shape.Heads * shape.HeadSize)]);
        return linear.Apply(mixed, $"{name}.o_proj", shape.HiddenSize, shape.Heads * shape.HeadSize, shape.OutputBias);
    }

    /// <summary>Queries, keys and values, [batch, sequence, heads x head size].</summary>
    private (string Queries, string Keys, string Values) Projected(string x, string name)
    {
        var (queries, keys) = (shape.Heads * shape.HeadSize, shape.KeyValueHeads * shape.HeadSize);
        string Project(string layer, int rows) => linear.Apply(x, $"{name}.{layer}", rows, shape.HiddenSize, shape.QueryKeyValueBias);
        if (!shape.HasFusedProjections)
        {
            return (Project("q_proj", queries), Project("k_proj", keys), Project("v_proj", keys));
        }

        var all = Project("qkv_proj", queries + (2 * keys));
        graph.Scope = name;
        return (Part(all, 0, queries), Part(all, queries, keys), Part(all, queries + keys, keys));
    }

    /// <summary>Some columns of [batch, sequence, columns].</summary>
    private string Part(string x, int first, int count) =>
        graph.Node("Slice", [x, graph.Integers(first), graph.Integers(first + count), graph.Integers(2)]);

    /// <summary>Splits [batch, sequence, heads x head size] into [batch, heads, sequence, head size].</summary>
    private string Heads(string x, int heads, string? norm)
    {
        var kind = norm is null ? QueryKeyNorm.None : shape.QueryKeyNorm;
        if (kind == QueryKeyNorm.AllHeads)
        {
            graph.Scope = norm!;
            x = Norm(x, norm + ".weight", heads * shape.HeadSize);
        }

        var split = graph.Node("Reshape", [x, graph.Integers(0, 0, heads, shape.HeadSize)]);
        if (kind == QueryKeyNorm.EachHead)
        {
            graph.Scope = norm!;
            split = Norm(split, norm + ".weight", shape.HeadSize);
        }

        return graph.Node("Transpose", [split], ("perm", new long[] { 0, 2, 1, 3 }));
    }

    private string Rotate(string x, (string Cosine, string Sine) rotation, RotaryEmbedding rotary)
    {
        string Channels(string from, long start, long end) =>
            graph.Node("Slice", [from, graph.Integers(start), graph.Integers(end), graph.Integers(3)]);
        var (size, half) = (rotary.Channels, rotary.Channels / 2);
        var part = size == shape.HeadSize ? x : Channels(x, 0, size);
        var turned = graph.Node("Concat", [graph.Node("Neg", [Channels(part, half, size)]), Channels(part, 0, half)], ("axis", 3L));
        var rotated = graph.Node("Add", [graph.Node("Mul", [part, rotation.Cosine]), graph.Node("Mul", [turned, rotation.Sine])]);
        return size == shape.HeadSize ? rotated : graph.Node("Concat", [rotated, Channels(x, size, shape.HeadSize)], ("axis", 3L));
    }

    /// <summary>Appends new keys or values to those of the past.</summary>
    private string Cached(string x, int index, string kind)
    {
        var past = graph.Input(string.Create(CultureInfo.InvariantCulture, $"past_key_values.{index}.{kind}"), OnnxType.Float32, Batch, shape.KeyValueHeads,
            Past, shape.HeadSize);
        var all = graph.Node("Concat", [past, x], ("axis", 2L));
        graph.Output(all, string.Create(CultureInfo.InvariantCulture, $"present.{index}.{kind}"), OnnxType.Float32, Batch, shape.KeyValueHeads, Total,
            shape.HeadSize);
        return all;
    }

    private string FeedForward(string x, string prefix)
    {
        var width = shape.IntermediateSize;
        string Project(string layer, int rows) => linear.Apply(x, $"{prefix}.mlp.{layer}", rows, shape.HiddenSize, shape.FeedForwardBias);
        var (gate, up) = (string.Empty, string.Empty);
        if (shape.HasFusedProjections)
        {
            var both = Project("gate_up_proj", 2 * width);
            graph.Scope = $"{prefix}.mlp";
            (gate, up) = (Part(both, 0, width), Part(both, width, width));
        }
        else
        {
            (gate, up) = (Project("gate_proj", width), Project("up_proj", width));
            graph.Scope = $"{prefix}.mlp";
        }

        var product = graph.Node("Mul", [Activated(gate), up]);
        return linear.Apply(product, $"{prefix}.mlp.down_proj", shape.HiddenSize, width, shape.FeedForwardBias);
    }

    private string Activated(string x)
    {
        if (shape.Activation == DecoderActivation.Silu)
        {
            return graph.Node("Mul", [x, graph.Node("Sigmoid", [x])]);
        }

        var cubed = graph.Node("Mul", [graph.Node("Mul", [x, x]), x]);
        var inner = graph.Node("Mul", [graph.Node("Add", [x, graph.Node("Mul", [cubed, graph.Float(0.044715f)])]), graph.Float((float)Math.Sqrt(2 / Math.PI))]);
        return graph.Node("Mul", [graph.Node("Mul", [x, graph.Float(0.5f)]), graph.Node("Add", [graph.Node("Tanh", [inner]), graph.Float(1)])]);
    }

    private string Norm(string x, string weight, int size)
    {
        var square = graph.Node("Pow", [x, graph.Float(2)]);
        var mean = graph.Node("ReduceMean", [square, graph.Integers(-1)], ("keepdims", 1L));
        var root = graph.Node("Sqrt", [graph.Node("Add", [mean, graph.Float((float)shape.NormEpsilon)])]);
        var constant = new FloatConstant(graph, tensors.Float(weight, size));
        var factors = constant.Widen(constant.Name);
        return graph.Node("Mul", [graph.Node("Div", [x, root]), shape.NormsAddOne ? graph.Node("Add", [factors, graph.Float(1)]) : factors]);
    }
}
