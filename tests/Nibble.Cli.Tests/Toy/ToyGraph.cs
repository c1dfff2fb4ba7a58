using Nibble.Onnx;
using Nibble.Onnx.Families;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;

namespace Nibble.Cli.Tests.Toy;

internal static class ToyGraph
{
    private const string Batch = "batch_size";
    private const string Sequence = "sequence_length";

    public static ModelGraph Build(ToyConfig config, ModelTensors tensors, MatMulAccuracy accuracy)
    {
        var graph = new GraphBuilder();
        var linear = new LinearNodes(graph, tensors, accuracy);
        var ids = graph.Input("input_ids", OnnxType.Int64, Batch, Sequence);
        var mask = graph.Input("attention_mask", OnnxType.Int64, Batch, Sequence);
        var x = new EmbeddingNodes(graph, tensors).Apply(ids, ToyConfig.Words, config.VocabularySize, config.HiddenSize);
        for (var i = 0; i < config.Layers; i++)
        {
            var prefix = config.BlockPrefix(i);
            var up = linear.Apply(x, prefix + "up", config.Inner, config.HiddenSize, bias: true);
            var down = linear.Apply(graph.Node("Relu", [up]), prefix + "down", config.HiddenSize, config.Inner, bias: false);
            graph.Scope = prefix + "norm";
            string Norm(string name) => new FloatConstant(graph, tensors.Float(prefix + name, config.HiddenSize)).Name;
            x = graph.Node(
                "LayerNormalization", [graph.Node("Add", [x, down]), Norm("norm.weight"), Norm("norm.bias")], ("axis", -1L), ("epsilon", 1e-5f));
        }

        graph.Scope = "pooling";
        var tokens = graph.Node("Unsqueeze", [graph.Node("Cast", [mask], ("to", (long)OnnxType.Float32)), graph.Integers(2)]);
        var pooled = graph.Node("Div", [Sum(graph.Node("Mul", [x, tokens])), Sum(tokens)]);
        if (config.HasHead)
        {
            graph.Output(
                linear.Apply(pooled, ToyConfig.Head, config.Labels, config.HiddenSize, bias: true), "logits", OnnxType.Float32, Batch, config.Labels);
        }
        else
        {
            graph.Output(pooled, "sentence_embedding", OnnxType.Float32, Batch, config.HiddenSize);
        }

        tensors.RequireAllUsed(_ => false);
        return new ModelGraph(graph, linear.Forms);

        string Sum(string values) => graph.Node("ReduceSum", [values, graph.Integers(1)], ("keepdims", 0L));
    }
}
