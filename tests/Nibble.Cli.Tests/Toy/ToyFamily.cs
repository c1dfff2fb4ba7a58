using Nibble.Models;
using Nibble.Onnx;
using Nibble.Onnx.Families;
using Nibble.Torch.Models;

namespace Nibble.Cli.Tests.Toy;

/// <summary>All that a family is: what a configuration means, modules, and a graph.</summary>
internal sealed class ToyFamily : IModelFamily, IModuleFamily, IGraphFamily
{
    public IReadOnlyList<string> ModelTypes => [ToyConfig.Type];

    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => ToyConfig.Parse(configJson);

    public bool Builds(ModelDefinition definition) => definition is ToyConfig;

    public IQuantizableModel CreateModel(ModelDefinition definition) => new ToyModel((ToyConfig)definition);

    public IModelParts CreateParts(ModelDefinition definition) => new ToyParts((ToyConfig)definition);

    public string NameOf(ModelDefinition definition) => ToyConfig.Type;

    public ModelGraph Build(ModelDefinition definition, ModelTensors tensors, MatMulAccuracy accuracy) =>
        ToyGraph.Build((ToyConfig)definition, tensors, accuracy);
}
