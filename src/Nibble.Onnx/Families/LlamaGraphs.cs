using Nibble.Models;
using Nibble.Models.Llama;

namespace Nibble.Onnx.Families;

/// <summary>The graphs of Llama-family decoders.</summary>
internal sealed class LlamaGraphs : IGraphFamily
{
    public bool Builds(ModelDefinition definition) => definition is LlamaConfig;

    public string NameOf(ModelDefinition definition) => "decoder";

    public int MaxSequence(ModelDefinition definition) => ((LlamaConfig)definition).MaxPositions;

    public ModelGraph Build(ModelDefinition definition, ModelTensors tensors, MatMulAccuracy accuracy) =>
        LlamaGraph.Build((LlamaConfig)definition, tensors, accuracy);
}
