using Nibble.Models;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Tasks;

/// <summary>Prediction of the next token of a text. The metric is perplexity.</summary>
public sealed class LanguageModelling : ITask
{
    /// <summary>The name of the main metric.</summary>
    public const string Perplexity = "perplexity";

    /// <summary>The default number of tokens per window for scoring.</summary>
    public const int DefaultContext = 512;

    /// <inheritdoc/>
    public ModelTask Kind => ModelTask.LanguageModelling;

    /// <inheritdoc/>
    public ITaskData Read(IReadOnlyList<string> paths, LoadedModel model, ReadOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        return TokenizedText.Read(paths, model.Tokenizer, cancellation);
    }

    /// <inheritdoc/>
    public Tensor Loss(Tensor output, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(targets);
        return nn.functional.cross_entropy(output.reshape(-1, output.shape[2]), targets.reshape(-1));
    }

    /// <inheritdoc/>
    public Tensor Divergence(Tensor student, Tensor teacher, double temperature) => Distances.KullbackLeibler(student, teacher, temperature);

    /// <inheritdoc/>
    public TaskScore Evaluate(
        IQuantizableModel model, ITaskData data, ScoreOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        var context = options.Context ?? Math.Min(DefaultContext, model.Definition.MaxSequence);
        var text = (TokenizedText)data;
        var scored = Evaluator.Evaluate((IDecoder)model, text, context, options.Count, (IDecoder?)options.Reference, progress, cancellation);
        return new TaskScore([new TaskMetric(Perplexity, scored.Perplexity, IsHigherBetter: false)], scored.Loss, scored.Windows)
        {
            Predictions = scored.Tokens,
            Divergence = scored.Divergence,
            Agreement = scored.Agreement,
            PieceLosses = scored.WindowLosses,
        };
    }
}
