using Nibble.Models;
using Nibble.Models.Decoders;

namespace Nibble.Torch.Models.Decoders;

/// <summary>The modules of decoders.</summary>
internal sealed class DecoderModules : IModuleFamily
{
    public bool Builds(ModelDefinition definition) => definition is DecoderConfig;

    public IQuantizableModel CreateModel(ModelDefinition definition) => new DecoderModel((DecoderConfig)definition);

    public IModelParts CreateParts(ModelDefinition definition) => new Parts((DecoderConfig)definition);

    private sealed class Parts(DecoderConfig config) : IModelParts
    {
        private readonly RotaryTables rotary = new(config);

        public IInputPart CreateInput() => new DecoderInput(config);

        public IQuantizableBlock CreateBlock(int index) => new DecoderBlock(config, config.LayerOf(index), rotary);

        public IQuantizableBlock? CreateHead() => config.TiedHead ? null : new DecoderHead(config);

        // A norm of an output stands between the layer that writes and the residual stream, and does not commute with a rotation.
        public IModelRotation? CreateRotation(long seed) => config.Norms.HasOutputs ? null : new DecoderRotation(config, seed);

        public void Dispose() => rotary.Dispose();
    }
}
