using Nibble.Torch.Data;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Torch.Qat;

/// <summary>A quantization-aware training run from a checkpoint to an artifact.</summary>
internal sealed record QatRequest : QatOptions
{
    /// <summary>Creates a request.</summary>
    /// <param name="source">The float model, which is trained in place.</param>
    /// <param name="recipe">What to do with each layer.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="data">Data to train on and to calibrate static activations with. Null lets a float decoder generate them.</param>
    /// <param name="output">The folder to write. Empty if the result stays in memory.</param>
    /// <param name="options">The other options. Default: null, all defaults.</param>
    public QatRequest(LoadedModel source, Recipe recipe, QatSettings settings, ITaskData? data, string output, QatOptions? options = null)
        : base(options ?? new QatOptions()) => (Source, Recipe, Settings, Data, Output) = (source, recipe, settings, data, output);

    /// <summary>The float model.</summary>
    public LoadedModel Source { get; }

    /// <summary>What to do with each layer.</summary>
    public Recipe Recipe { get; }

    /// <summary>The training settings.</summary>
    public QatSettings Settings { get; }

    /// <summary>The folder to write.</summary>
    public string Output { get; }

    /// <summary>The number of windows that the model generates if there are no data.</summary>
    public int WindowCount => Windows ?? (int)Math.Min((long)Settings.Steps * Settings.BatchSize, DefaultWindows);

    /// <summary>A description of the generated windows.</summary>
    public string OwnText => $"{WindowCount} windows of {Settings.SequenceLength} tokens of text that the float model wrote itself";
}
