using Nibble.Models;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Families;

/// <summary>A graph that computes a model.</summary>
/// <param name="Graph">Its nodes and tensors.</param>
/// <param name="Forms">How many linear layers it has in each form.</param>
internal sealed record ModelGraph(GraphBuilder Graph, IReadOnlyDictionary<string, int> Forms);

/// <summary>Builds the graphs of a family's models.</summary>
internal interface IGraphFamily
{
    /// <summary>Whether the models of a definition are of this family.</summary>
    bool Builds(ModelDefinition definition);

    /// <summary>What a graph is called; the same for all models of a kind, so that a folder's name makes no difference.</summary>
    string NameOf(ModelDefinition definition);

    /// <summary>The most tokens that a model was made for.</summary>
    int MaxSequence(ModelDefinition definition) => definition.MaxSequence;

    /// <summary>Builds the graph of a model.</summary>
    /// <param name="definition">The model.</param>
    /// <param name="tensors">Its tensors.</param>
    /// <param name="accuracy">What products of narrow weights and float inputs are computed with.</param>
    /// <exception cref="NibbleException">The tensors are not those of the model, or no graph expresses how it is quantized.</exception>
    ModelGraph Build(ModelDefinition definition, ModelTensors tensors, MatMulAccuracy accuracy);
}

/// <summary>The families whose graphs are known.</summary>
internal static class GraphFamilies
{
    private static readonly IGraphFamily[] BuiltIn = [new LlamaGraphs(), new BertGraphs()];

    /// <summary>The family of a definition: one that is built in, or one that was registered and builds graphs too.</summary>
    /// <exception cref="NibbleException">There is none.</exception>
    public static IGraphFamily Of(ModelDefinition definition) =>
        ModelFamilies.Find(definition.ModelType) is IGraphFamily own && own.Builds(definition) ? own
        : Array.Find(BuiltIn, family => family.Builds(definition))
            ?? throw new NibbleException($"there is no ONNX graph for models of type {definition.ModelType}");
}
