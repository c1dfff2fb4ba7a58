using Nibble.Models;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Families;

/// <summary>A graph that computes a model.</summary>
/// <param name="Graph">Its nodes and tensors.</param>
/// <param name="Forms">The number of linear layers in each form.</param>
internal sealed record ModelGraph(GraphBuilder Graph, IReadOnlyDictionary<string, int> Forms);

/// <summary>Builds the graphs of a model family.</summary>
internal interface IGraphFamily
{
    /// <summary>Whether a definition belongs to this family.</summary>
    bool Builds(ModelDefinition definition);

    /// <summary>The name of a graph. It is the same for all models of a kind and does not depend on the folder's name.</summary>
    string NameOf(ModelDefinition definition);

    /// <summary>The maximum number of tokens that a model was made for.</summary>
    int MaxSequence(ModelDefinition definition) => definition.MaxSequence;

    /// <summary>Builds the graph of a model.</summary>
    /// <param name="definition">The model.</param>
    /// <param name="tensors">Its tensors.</param>
    /// <param name="accuracy">The arithmetic of products of low-bit weights and float inputs.</param>
    /// <exception cref="NibbleException">The tensors do not match the model, or no graph expresses its quantization.</exception>
    ModelGraph Build(ModelDefinition definition, ModelTensors tensors, MatMulAccuracy accuracy);
}

/// <summary>The supported model families and their graphs.</summary>
internal static class GraphFamilies
{
    private static readonly IGraphFamily[] BuiltIn = [new DecoderGraphs(), new BertGraphs()];

    /// <summary>The family of a definition: a built-in one, or a registered one that builds graphs too.</summary>
    /// <exception cref="NibbleException">There is no such family.</exception>
    public static IGraphFamily Of(ModelDefinition definition) =>
        ModelFamilies.Find(definition.ModelType) is IGraphFamily own && own.Builds(definition) ? own
        : Array.Find(BuiltIn, family => family.Builds(definition))
            ?? throw new NibbleException($"there is no ONNX graph for models of type {definition.ModelType}");
}
