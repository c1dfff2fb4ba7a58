namespace Nibble.Torch.Qat;

/// <summary>
/// The unfinished work of a training run: its checkpoint, the results of the work before the first step, and the text that the model generated for it.
/// </summary>
internal sealed class QatJob(string output, IReadOnlyDictionary<string, string> identity, bool restart) : OutputJob(output, identity, restart)
{
    private const string CheckpointName = "checkpoint.safetensors";
    private const string TextName = "text.bin";

    /// <summary>
    /// The training checkpoint. Names that start with this name and a dot also belong to the trainer: an initial solution, a teacher.
    /// </summary>
    public string Checkpoint => At(CheckpointName);

    /// <summary>The text that the float model has generated.</summary>
    public string Text => At(TextName);

    /// <inheritdoc/>
    protected override bool Owns(string name) =>
        base.Owns(name) || IsEntry(name, TextName) || name == CheckpointName || name.StartsWith(CheckpointName + '.', StringComparison.Ordinal);
}
