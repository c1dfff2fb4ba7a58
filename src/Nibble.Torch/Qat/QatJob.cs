namespace Nibble.Torch.Qat;

/// <summary>The unfinished work of a training: its checkpoint, what is found before its first step, and the text that the model wrote for it.</summary>
internal sealed class QatJob(string output, IReadOnlyDictionary<string, string> identity, bool restart) : OutputJob(output, identity, restart)
{
    private const string CheckpointName = "checkpoint.safetensors";
    private const string TextName = "text.bin";

    /// <summary>The training between two steps. Names that begin with this one and a dot are the trainer's own: a solution to begin with, a teacher.</summary>
    public string Checkpoint => At(CheckpointName);

    /// <summary>The text that the float model has written.</summary>
    public string Text => At(TextName);

    /// <inheritdoc/>
    protected override bool Owns(string name) =>
        base.Owns(name) || IsEntry(name, TextName) || name == CheckpointName || name.StartsWith(CheckpointName + '.', StringComparison.Ordinal);
}
