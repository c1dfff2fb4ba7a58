using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Models.Decoders;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Families;

/// <summary>Builds the graph of a Llama-family decoder with a key-value cache.</summary>
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
        var bias = MaskBias(ids, mask);
        var (cosine, sine) = Rotation(positions);
        for (var i = 0; i < shape.Layers; i++)
        {
            x = Block(x, i, bias, cosine, sine);
        }

        graph.Scope = "model.norm";
        x = Norm(x, "model.norm.weight", shape.HiddenSize);
        graph.Scope = "lm_head";
        var logits = shape.TiedHead
            ? graph.Node("MatMul", [x, graph.Node("Transpose", [embedding.Widen(embedding.Name)], ("perm", new long[] { 1, 0 }))])
            : linear.Apply(x, "lm_head", shape.VocabularySize, shape.HiddenSize, bias: false);
        graph.Output(logits, "logits", OnnxType.Float32, Batch, Sequence, shape.VocabularySize);
    }

    /// <summary>
    /// The values added to attention scores, [batch, 1, 1, sequence, total]: 0 where a token may attend, and the lowest float elsewhere.
    /// </summary>
    private string MaskBias(string ids, string mask)
    {
        string Length(string value) => graph.Node("Squeeze", [graph.Node("Shape", [value], ("start", 1L), ("end", 2L)), graph.Integers(0)]);
        var total = Length(mask);
        var past = graph.Node("Sub", [total, Length(ids)]);
        var columns = graph.Node("Range", [graph.Integer(0), total, graph.Integer(1)]);
        var rows = graph.Node("Unsqueeze", [graph.Node("Range", [past, total, graph.Integer(1)]), graph.Integers(1)]);
        var visible = graph.Node("LessOrEqual", [columns, rows]);
        if (shape.SlidingWindow is { } window)
        {
            visible = graph.Node("And", [visible, graph.Node("Greater", [columns, graph.Node("Sub", [rows, graph.Integer(window)])])]);
        }

        var tokens = graph.Node("Unsqueeze", [graph.Node("Cast", [mask], ("to", (long)OnnxType.Bool)), graph.Integers(1, 2, 3)]);
        return graph.Node("Where", [graph.Node("And", [tokens, visible]), graph.Float(0), graph.Float(float.MinValue)]);
    }

    /// <summary>The cosines and sines of the positions' angles, [batch, 1, sequence, head size].</summary>
    private (string Cosine, string Sine) Rotation(string positions)
    {
        float[] values = [.. shape.RotaryFrequencies(), .. shape.RotaryFrequencies()];
        var frequencies = graph.Initializer(
            "rotary_frequencies", OnnxType.Float32, [values.Length], stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
        var position = graph.Node("Unsqueeze", [graph.Node("Cast", [positions], ("to", (long)OnnxType.Float32)), graph.Integers(1, 3)]);
        var angles = graph.Node("Mul", [position, frequencies]);
        return (graph.Node("Cos", [angles]), graph.Node("Sin", [angles]));
    }

    private string Block(string x, int index, string bias, string cosine, string sine)
    {
        var prefix = string.Create(CultureInfo.InvariantCulture, $"model.layers.{index}");
        graph.Scope = $"{prefix}.input_layernorm";
        var normed = Norm(x, $"{prefix}.input_layernorm.weight", shape.HiddenSize);
        x = Sum($"{prefix}.self_attn", x, Attention(normed, prefix, index, bias, cosine, sine));
        graph.Scope = $"{prefix}.post_attention_layernorm";
        normed = Norm(x, $"{prefix}.post_attention_layernorm.weight", shape.HiddenSize);
        return Sum($"{prefix}.mlp", x, FeedForward(normed, prefix));
    }

    private string Sum(string scope, string x, string y)
    {
        graph.Scope = scope;
        return graph.Node("Add", [x, y]);
    }

    private string Attention(string x, string prefix, int index, string bias, string cosine, string sine)
    {
        var name = $"{prefix}.self_attn";
        var share = shape.Heads / shape.KeyValueHeads;
        var q = Heads(Project(x, $"{name}.q_proj", shape.Heads), shape.Heads, $"{name}.q_norm");
        var k = Heads(Project(x, $"{name}.k_proj", shape.KeyValueHeads), shape.KeyValueHeads, $"{name}.k_norm");
        var v = Heads(Project(x, $"{name}.v_proj", shape.KeyValueHeads), shape.KeyValueHeads, null);
        graph.Scope = name;
        q = Rotate(q, cosine, sine);
        k = Cached(Rotate(k, cosine, sine), index, "key");
        v = Cached(v, index, "value");

        // Query heads that share a key-value head are adjacent, and the products broadcast over them.
        q = graph.Node("Reshape",
            [graph.Node("Mul", [q, graph.Float((float)(1 / Math.Sqrt(shape.HeadSize)))]), graph.Integers(0, shape.KeyValueHeads, share, -1, shape.HeadSize)]);
        k = graph.Node("Unsqueeze", [graph.Node("Transpose", [k], ("perm", new long[] { 0, 1, 3, 2 })), graph.Integers(2)]);
        v = graph.Node("Unsqueeze", [v, graph.Integers(2)]);
        var weights = graph.Node("Softmax", [graph.Node("Add", [graph.Node("MatMul", [q, k]), bias])], ("axis", -1L));
        var mixed = graph.Node("Reshape", [graph.Node("MatMul", [weights, v]), graph.Integers(0, shape.Heads, -1, shape.HeadSize)]);
        mixed = graph.Node("Reshape",
            [graph.Node("Transpose", [mixed], ("perm", new long[] { 0, 2, 1, 3 })), graph.Integers(0, 0, shape.Heads * shape.HeadSize)]);
        return linear.Apply(mixed, $"{name}.o_proj", shape.HiddenSize, shape.Heads * shape.HeadSize, shape.OutputBias);
    }

    private string Project(string x, string name, int heads) => linear.Apply(x, name, heads * shape.HeadSize, shape.HiddenSize, shape.QueryKeyValueBias);

    /// <summary>Splits [batch, sequence, heads x head size] into [batch, heads, sequence, head size].</summary>
    private string Heads(string x, int heads, string? norm)
    {
        var split = graph.Node("Reshape", [x, graph.Integers(0, 0, heads, shape.HeadSize)]);
        if (norm is not null && shape.QueryKeyNorm)
        {
            graph.Scope = norm;
            split = Norm(split, norm + ".weight", shape.HeadSize);
        }

        return graph.Node("Transpose", [split], ("perm", new long[] { 0, 2, 1, 3 }));
    }

    private string Rotate(string x, string cosine, string sine)
    {
        string Half(long start, long end) => graph.Node("Slice", [x, graph.Integers(start), graph.Integers(end), graph.Integers(3)]);
        var half = shape.HeadSize / 2;
        var turned = graph.Node("Concat", [graph.Node("Neg", [Half(half, shape.HeadSize)]), Half(0, half)], ("axis", 3L));
        return graph.Node("Add", [graph.Node("Mul", [x, cosine]), graph.Node("Mul", [turned, sine])]);
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
        var gate = linear.Apply(x, $"{prefix}.mlp.gate_proj", shape.IntermediateSize, shape.HiddenSize, shape.FeedForwardBias);
        var up = linear.Apply(x, $"{prefix}.mlp.up_proj", shape.IntermediateSize, shape.HiddenSize, shape.FeedForwardBias);
        graph.Scope = $"{prefix}.mlp";
        var product = graph.Node("Mul", [graph.Node("Mul", [gate, graph.Node("Sigmoid", [gate])]), up]);
        return linear.Apply(product, $"{prefix}.mlp.down_proj", shape.HiddenSize, shape.IntermediateSize, shape.FeedForwardBias);
    }

    private string Norm(string x, string weight, int size)
    {
        var square = graph.Node("Pow", [x, graph.Float(2)]);
        var mean = graph.Node("ReduceMean", [square, graph.Integers(-1)], ("keepdims", 1L));
        var root = graph.Node("Sqrt", [graph.Node("Add", [mean, graph.Float((float)shape.NormEpsilon)])]);
        var constant = new FloatConstant(graph, tensors.Float(weight, size));
        return graph.Node("Mul", [graph.Node("Div", [x, root]), constant.Widen(constant.Name)]);
    }
}
