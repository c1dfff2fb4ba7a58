using Nibble.Models;
using Nibble.Models.Decoders;

namespace Nibble.Torch.Models.Decoders;

/// <summary>The modules of the Llama family.</summary>
internal sealed class DecoderModules : IModuleFamily
{
    public bool Builds(ModelDefinition definition) => definition is DecoderConfig;

    public IQuantizableModel CreateModel(ModelDefinition definition) => new DecoderModel((DecoderConfig)definition);

    public IModelParts CreateParts(ModelDefinition definition) => new Parts((DecoderConfig)definition);

    private sealed class Parts(DecoderConfig config) : IModelParts
    {
        private readonly RotaryTable rotary = new(config);

        public IInputPart CreateInput() => new DecoderInput(config);

        public IQuantizableBlock CreateBlock(int index) => new DecoderBlock(config, rotary);

        public IQuantizableBlock? CreateHead() => config.TiedHead ? null : new DecoderHead(config);

        public IModelRotation? CreateRotation(long seed) => new DecoderRotation(config, seed);

        public void Dispose() => rotary.Dispose();
    }
}
