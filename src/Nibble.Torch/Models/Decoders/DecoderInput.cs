using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Decoders;

/// <summary>The token embedding table before the first block.</summary>
internal sealed class DecoderInput(DecoderConfig config) : IInputPart
{
    private Parameter? table;

    // PTQ reads the table row by row, so it is never in memory as a whole.
    public KeyValuePair<string, Parameter> Words =>
        new(DecoderConfig.EmbeddingName, table ??= (Parameter)nn.Parameter(empty(config.VocabularySize, config.HiddenSize)).DetachFromDisposeScope());

    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters => [];

    public IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Tables => [];

    public Tensor Embed(ModelBatch batch, Tensor? words = null) =>
        Scaled(words ?? Words.Value.index_select(0, batch.Ids.reshape(-1)).view(batch.Ids.shape[0], batch.Ids.shape[1], -1), config);

    /// <summary>The vectors that enter the first block.</summary>
    internal static Tensor Scaled(Tensor words, DecoderConfig config) => config.EmbeddingScale == 1 ? words : words.Times(config.EmbeddingScale);

    public void Dispose() => table?.Dispose();
}
