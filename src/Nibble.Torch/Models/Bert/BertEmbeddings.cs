using System.Diagnostics.CodeAnalysis;
using Nibble.Models.Bert;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Bert;

/// <summary>The input to the first layer: the normalised sum of each token's word, position and type vectors.</summary>
internal sealed class BertEmbeddings : nn.Module<Tensor, Tensor>, IInputPart
{
    private readonly BertConfig config;
    private readonly QuantizableEmbedding word_embeddings;
    private readonly QuantizableEmbedding position_embeddings;
    private readonly QuantizableEmbedding? token_type_embeddings;
    [SuppressMessage("Style", "IDE1006", Justification = "Checkpoints name the tensor so, and modules take the names of their fields.")]
    private readonly LayerNorm LayerNorm;

    public BertEmbeddings(BertConfig config)
        : base(nameof(BertEmbeddings))
    {
        this.config = config;
        word_embeddings = new QuantizableEmbedding(nn.Parameter(empty(config.VocabularySize, config.HiddenSize)));
        position_embeddings = new QuantizableEmbedding(nn.Parameter(empty(config.MaxPositions, config.HiddenSize)));
        token_type_embeddings = config.TokenTypes > 0 ? new QuantizableEmbedding(nn.Parameter(empty(config.TokenTypes, config.HiddenSize))) : null;
        LayerNorm = nn.LayerNorm(config.HiddenSize, config.NormEpsilon);
        RegisterComponents();
    }

    public KeyValuePair<string, Parameter> Words => KeyValuePair.Create($"{Prefix}{nameof(word_embeddings)}.weight", word_embeddings.Weight);

    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters =>
        [.. named_parameters().Select(item => KeyValuePair.Create(Prefix + item.name, item.parameter)).Where(item => item.Key != Words.Key)];

    public IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Tables =>
        [.. named_children().Where(item => item.module is QuantizableEmbedding)
            .Select(item => KeyValuePair.Create(Prefix + item.name, (IQuantizableLayer)item.module))];

    private string Prefix => $"{config.ModelType}.embeddings.";

    public override Tensor forward(Tensor input) => Embed(new ModelBatch(input));

    public Tensor Embed(ModelBatch batch, Tensor? words = null)
    {
        // RoBERTa gives padding tokens their own position. This is not needed here, because no other token attends to padding.
        // The positions come from an array: arange takes scalars, which are only safe while no garbage collection runs (see TensorArithmetic).
        var ids = batch.Ids;
        var places = Enumerable.Range(config.FirstPosition, (int)ids.shape[1]).Select(position => (long)position).ToArray();
        var positions = tensor(places, device: ids.device);
        var x = (words ?? word_embeddings.call(ids)).Plus(position_embeddings.call(positions));
        if (token_type_embeddings is { } types)
        {
            // RoBERTa has the table, but only one type.
            x = x.Plus(types.call(batch.Types is { } second && config.TokenTypes > 1 ? second : zeros_like(positions)));
        }

        return F.dropout(LayerNorm.call(x), config.HiddenDropout, training);
    }
}
