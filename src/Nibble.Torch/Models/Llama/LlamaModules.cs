using Nibble.Models;
using Nibble.Models.Llama;

namespace Nibble.Torch.Models.Llama;

/// <summary>The modules of the Llama family.</summary>
internal sealed class LlamaModules : IModuleFamily
{
    public bool Builds(ModelDefinition definition) => definition is LlamaConfig;

    public IQuantizableModel CreateModel(ModelDefinition definition) => new LlamaModel((LlamaConfig)definition);

    public IModelParts CreateParts(ModelDefinition definition) => new Parts((LlamaConfig)definition);

    private sealed class Parts(LlamaConfig config) : IModelParts
    {
        private readonly RotaryTable rotary = new(config);

        public IInputPart CreateInput() => new LlamaInput(config);

        public IQuantizableBlock CreateBlock(int index) => new LlamaBlock(config, rotary);

        public IQuantizableBlock? CreateHead() => config.TiedHead ? null : new LlamaHead(config);

        public IModelRotation? CreateRotation(long seed) => new LlamaRotation(config, seed);

        public void Dispose() => rotary.Dispose();
    }
}
