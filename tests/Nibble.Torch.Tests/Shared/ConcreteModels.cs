using Nibble.Torch.Models;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Models.Decoders;

namespace Nibble.Torch.Tests.Shared;

/// <summary>Models as the classes that they are.</summary>
internal static class ConcreteModels
{
    public static DecoderModel Llama(this LoadedModel loaded) => (DecoderModel)loaded.Model;

    public static BertModel Bert(this LoadedModel loaded) => (BertModel)loaded.Model;
}
