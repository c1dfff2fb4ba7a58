using Nibble.Cli.Report;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Comparison;

/// <summary>What every variant of a comparison is scored on.</summary>
internal interface IComparisonMeasure
{
    /// <summary>The scale that quality is measured on.</summary>
    QualityScale Scale { get; }

    /// <summary>The name of the data.</summary>
    string Name { get; }

    /// <summary>Everything that scores depend on besides the model, by name.</summary>
    IReadOnlyDictionary<string, string> Identity { get; }

    /// <summary>Tokens per window; null unless windows of text are scored.</summary>
    int? Context { get; }

    /// <summary>The number of windows, texts, pairs or questions.</summary>
    int Count { get; }

    /// <summary>How many of them are enough to time one.</summary>
    int SampleCount { get; }

    /// <summary>The number of models that run to score a variant against the float model: 2 if that runs each time.</summary>
    int Passes { get; }

    /// <summary>Scores a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="reference">The float model to compare with. Null for no comparison.</param>
    /// <param name="most">The most windows, texts, pairs or questions. Null for all that count.</param>
    /// <param name="progress">Takes progress reports.</param>
    /// <param name="cancellation">Stops the work.</param>
    TaskScore Score(LoadedModel model, LoadedModel? reference, int? most, IProgress<RunProgress>? progress, CancellationToken cancellation);
}
