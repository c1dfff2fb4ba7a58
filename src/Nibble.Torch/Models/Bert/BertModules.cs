using Nibble.Models;
using Nibble.Models.Bert;

namespace Nibble.Torch.Models.Bert;

/// <summary>The modules of the BERT family.</summary>
internal sealed class BertModules : IModuleFamily
{
    public bool Builds(ModelDefinition definition) => definition is BertConfig;

    public IQuantizableModel CreateModel(ModelDefinition definition) => new BertModel((BertConfig)definition);

    public IModelParts CreateParts(ModelDefinition definition) => new Parts((BertConfig)definition);

    private sealed class Parts(BertConfig config) : IModelParts
    {
        public IInputPart CreateInput()
        {
            var input = new BertEmbeddings(config);
            input.eval();
            return input;
        }

        public IQuantizableBlock CreateBlock(int index)
        {
            var block = EncoderLayer.Create(config);
            block.eval();
            return block;
        }

        public IQuantizableBlock? CreateHead() => config.HasClassifier ? new BertHeadBlock(config) : null;

        public void Dispose()
        {
        }
    }
}
