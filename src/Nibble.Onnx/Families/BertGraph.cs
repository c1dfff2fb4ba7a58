using Nibble.Models;
using Nibble.Models.Bert;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Families;

/// <summary>Builds the graph of a BERT-family encoder.</summary>
/// <remarks>
/// Inputs and outputs have the names that Hugging Face's optimum uses: <c>input_ids</c>, <c>attention_mask</c> (1 for tokens) and, for BERT,
/// <c>token_type_ids</c>, int64 [batch, sequence]; <c>logits</c>, [batch, classes], or <c>sentence_embedding</c>, [batch, hidden]. Each sequence starts at the
/// beginning of its row. The formulas are those of <c>BertModel</c> in Nibble.Torch, in float32.
/// </remarks>
internal sealed class BertGraph
{
    private const string Batch = "batch_size";
    private const string Sequence = "sequence_length";

    /// <summary>The minimum length that a vector is divided by.</summary>
    private const float LeastLength = 1e-12f;

    private readonly BertConfig shape;
    private readonly BertNames names;
    private readonly ModelTensors tensors;
    private readonly GraphBuilder graph = new();
    private readonly LinearNodes linear;
    private readonly EmbeddingNodes tables;

    private BertGraph(BertConfig shape, ModelTensors tensors, MatMulAccuracy accuracy)
    {
        this.shape = shape;
        this.tensors = tensors;
        names = new BertNames(shape);
        linear = new LinearNodes(graph, tensors, accuracy);
        tables = new EmbeddingNodes(graph, tensors);
    }

    /// <summary>Builds the graph of a model.</summary>
    /// <exception cref="NibbleException">The tensors do not match the shape, or the graph cannot express their quantization.</exception>
    /// <returns>The graph, and the number of linear layers in each form.</returns>
    public static ModelGraph Build(BertConfig shape, ModelTensors tensors, MatMulAccuracy accuracy)
    {
        var builder = new BertGraph(shape, tensors, accuracy);
        builder.Build();
        tensors.RequireAllUsed(shape.IsIgnored);
        return new ModelGraph(builder.graph, builder.linear.Forms);
    }

    private void Build()
    {
        var ids = graph.Input("input_ids", OnnxType.Int64, Batch, Sequence);
        var mask = graph.Input("attention_mask", OnnxType.Int64, Batch, Sequence);
        var x = Embed(ids);
        graph.Scope = "attention_mask";
        var tokens = graph.Node("Unsqueeze", [graph.Node("Cast", [mask], ("to", (long)OnnxType.Bool)), graph.Integers(1, 2)]);
        var bias = graph.Node("Where", [tokens, graph.Float(0), graph.Float(float.MinValue)]);
        for (var i = 0; i < shape.Layers; i++)
        {
            x = Layer(x, names.Layer(i), bias);
        }

        if (shape.Head == ModelTask.Embedding)
        {
            graph.Output(Pool(x, mask), "sentence_embedding", OnnxType.Float32, Batch, shape.HiddenSize);
            return;
        }

        graph.Scope = "first_token";
        var pooled = linear.Apply(graph.Node("Gather", [x, graph.Integer(0)], ("axis", 1L)), names.Pooler, shape.HiddenSize, shape.HiddenSize, bias: true);
        graph.Scope = names.Pooler;
        pooled = graph.Node(shape.IsDistilBert ? "Relu" : "Tanh", [pooled]);
        graph.Output(linear.Apply(pooled, names.Classifier, shape.Labels, shape.HiddenSize, bias: true), "logits", OnnxType.Float32, Batch, shape.Labels);
    }

    /// <summary>Pools a text's token vectors into one vector, like <c>SentencePooling</c> in Nibble.Torch.</summary>
    private string Pool(string x, string mask)
    {
        graph.Scope = "pooling";
        var tokens = graph.Node("Unsqueeze", [graph.Node("Cast", [mask], ("to", (long)OnnxType.Float32)), graph.Integers(2)]);
        var pooled = shape.Pooling switch
        {
            Pooling.FirstToken => graph.Node("Gather", [x, graph.Integer(0)], ("axis", 1L)),
            Pooling.Mean => graph.Node("Div", [Sum(graph.Node("Mul", [x, tokens])), Sum(tokens)]),
            _ => graph.Node("ReduceMax", [
                graph.Node("Where", [graph.Node("Cast", [tokens], ("to", (long)OnnxType.Bool)), x, graph.Float(float.MinValue)]), graph.Integers(1)],
                ("keepdims", 0L)),
        };
        return !shape.Normalizes ? pooled
            : graph.Node("Div", [pooled, graph.Node("Max", [graph.Node("ReduceL2", [pooled, graph.Integers(1)], ("keepdims", 1L)), graph.Float(LeastLength)])]);

        string Sum(string values) => graph.Node("ReduceSum", [values, graph.Integers(1)], ("keepdims", 0L));
    }

    private string Embed(string ids)
    {
        var scope = graph.Scope = names.Embeddings;
        var length = graph.Node("Squeeze", [graph.Node("Shape", [ids], ("start", 1L), ("end", 2L)), graph.Integers(0)]);
        var first = graph.Integer(shape.FirstPosition);
        var positions = graph.Node("Range", [first, graph.Node("Add", [length, first]), graph.Integer(1)]);
        var words = tables.Apply(ids, $"{scope}.word_embeddings", shape.VocabularySize, shape.HiddenSize);
        var places = tables.Apply(positions, $"{scope}.position_embeddings", shape.MaxPositions, shape.HiddenSize);
        graph.Scope = scope;
        var x = graph.Node("Add", [words, places]);
        if (shape.TokenTypes > 0)
        {
            // RoBERTa has the table, but only one type.
            var types = !shape.IsRoberta && !shape.IsDistilBert ? graph.Input("token_type_ids", OnnxType.Int64, Batch, Sequence) : graph.Integer(0);
            var kinds = tables.Apply(types, $"{scope}.token_type_embeddings", shape.TokenTypes, shape.HiddenSize);
            graph.Scope = scope;
            x = graph.Node("Add", [x, kinds]);
        }

        return Norm(x, $"{scope}.LayerNorm");
    }

    private string Layer(string x, string name, string bias)
    {
        var attention = Attention(x, name, bias);
        graph.Scope = $"{name}.{names.AttentionOutput}";
        x = Norm(graph.Node("Add", [x, attention]), $"{name}.{names.AttentionNorm}");
        var up = linear.Apply(x, $"{name}.{names.Up}", shape.IntermediateSize, shape.HiddenSize, bias: true);
        var down = linear.Apply(graph.Node("Gelu", [up]), $"{name}.{names.Down}", shape.HiddenSize, shape.IntermediateSize, bias: true);
        return Norm(graph.Node("Add", [x, down]), $"{name}.{names.OutputNorm}");
    }

    private string Attention(string x, string name, string bias)
    {
        var size = shape.HiddenSize / shape.Heads;
        var q = Heads(x, $"{name}.{names.Query}", 0, 2, 1, 3);
        var k = Heads(x, $"{name}.{names.Key}", 0, 2, 3, 1);
        var v = Heads(x, $"{name}.{names.Value}", 0, 2, 1, 3);
        graph.Scope = $"{name}.attention";
        q = graph.Node("Mul", [q, graph.Float((float)(1 / Math.Sqrt(size)))]);
        var weights = graph.Node("Softmax", [graph.Node("Add", [graph.Node("MatMul", [q, k]), bias])], ("axis", -1L));
        var mixed = graph.Node("Transpose", [graph.Node("MatMul", [weights, v])], ("perm", new long[] { 0, 2, 1, 3 }));
        return linear.Apply(graph.Node("Reshape", [mixed, graph.Integers(0, 0, shape.HiddenSize)]), $"{name}.{names.AttentionOutput}", shape.HiddenSize,
            shape.HiddenSize, bias: true);
    }

    /// <summary>Projects [batch, sequence, hidden], splits it into heads, and permutes the axes (batch, sequence, heads, head size) to the given
    /// order.</summary>
    private string Heads(string x, string name, params long[] order)
    {
        var projected = linear.Apply(x, name, shape.HiddenSize, shape.HiddenSize, bias: true);
        return graph.Node("Transpose", [graph.Node("Reshape", [projected, graph.Integers(0, 0, shape.Heads, shape.HiddenSize / shape.Heads)])],
            ("perm", order));
    }

    private string Norm(string x, string name)
    {
        graph.Scope = name;
        var weight = new FloatConstant(graph, tensors.Float($"{name}.weight", shape.HiddenSize));
        var bias = new FloatConstant(graph, tensors.Float($"{name}.bias", shape.HiddenSize));
        return graph.Node("LayerNormalization", [x, weight.Widen(weight.Name), bias.Widen(bias.Name)], ("axis", -1L), ("epsilon", (float)shape.NormEpsilon));
    }
}
