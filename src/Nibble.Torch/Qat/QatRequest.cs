using Nibble.Torch.Data;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Torch.Qat;

/// <summary>A run of quantization-aware training from a checkpoint to an artifact.</summary>
internal sealed record QatRequest : QatOptions
{
    /// <summary>Asks for a run.</summary>
    /// <param name="source">The float model, which will be trained in place.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="settings">How to train.</param>
    /// <param name="data">Data to train on, and to calibrate static activations with; null lets a float decoder write them.</param>
    /// <param name="output">The folder to write; empty where the result stays in memory.</param>
    /// <param name="options">How else; null for the defaults.</param>
    public QatRequest(LoadedModel source, Recipe recipe, QatSettings settings, ITaskData? data, string output, QatOptions? options = null)
        : base(options ?? new QatOptions()) => (Source, Recipe, Settings, Data, Output) = (source, recipe, settings, data, output);

    /// <summary>The float model.</summary>
    public LoadedModel Source { get; }

    /// <summary>What to do with each layer.</summary>
    public Recipe Recipe { get; }

    /// <summary>How to train.</summary>
    public QatSettings Settings { get; }

    /// <summary>The folder to write.</summary>
    public string Output { get; }

    /// <summary>Windows that the model writes where there are no data.</summary>
    public int WindowCount => Windows ?? (int)Math.Min((long)Settings.Steps * Settings.BatchSize, UsualWindows);

    /// <summary>What <see cref="WindowCount"/> windows are, in words.</summary>
    public string OwnText => $"{WindowCount} windows of {Settings.SequenceLength} tokens of text that the float model wrote itself";
}
