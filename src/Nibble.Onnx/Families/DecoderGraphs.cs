using Nibble.Models;
using Nibble.Models.Decoders;

namespace Nibble.Onnx.Families;

/// <summary>The graphs of Llama-family decoders.</summary>
internal sealed class DecoderGraphs : IGraphFamily
{
    public bool Builds(ModelDefinition definition) => definition is DecoderConfig;

    public string NameOf(ModelDefinition definition) => "decoder";

    public int MaxSequence(ModelDefinition definition) => ((DecoderConfig)definition).MaxPositions;

    public ModelGraph Build(ModelDefinition definition, ModelTensors tensors, MatMulAccuracy accuracy) =>
        DecoderGraph.Build((DecoderConfig)definition, tensors, accuracy);
}
