using System.Diagnostics.CodeAnalysis;
using Nibble.Models.Bert;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Bert;

/// <summary>What a token is before the first layer: the sum of its word's, its position's and its type's vectors, normalised.</summary>
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
        // RoBERTa gives padding a position of its own. It need not: nothing looks at padding.
        // Made from an array: arange takes numbers, which are only safe while nothing collects (see CollectorPause).
        var ids = batch.Ids;
        var places = Enumerable.Range(config.FirstPosition, (int)ids.shape[1]).Select(position => (long)position).ToArray();
        var positions = tensor(places, device: ids.device);
        var x = (words ?? word_embeddings.call(ids)) + position_embeddings.call(positions);
        if (token_type_embeddings is { } types)
        {
            // RoBERTa has the table, but one type alone.
            x = x + types.call(batch.Types is { } second && config.TokenTypes > 1 ? second : zeros_like(positions));
        }

        return F.dropout(LayerNorm.call(x), config.HiddenDropout, training);
    }
}
