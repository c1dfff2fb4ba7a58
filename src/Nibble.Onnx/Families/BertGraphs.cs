using Nibble.Models;
using Nibble.Models.Bert;

namespace Nibble.Onnx.Families;

/// <summary>The graphs of BERT-family encoders.</summary>
internal sealed class BertGraphs : IGraphFamily
{
    public bool Builds(ModelDefinition definition) => definition is BertConfig;

    public string NameOf(ModelDefinition definition) => definition.Task switch
    {
        ModelTask.Embedding => "embedding",
        ModelTask.Regression => "regressor",
        _ => "classifier",
    };

    public ModelGraph Build(ModelDefinition definition, ModelTensors tensors, MatMulAccuracy accuracy) =>
        BertGraph.Build((BertConfig)definition, tensors, accuracy);
}
