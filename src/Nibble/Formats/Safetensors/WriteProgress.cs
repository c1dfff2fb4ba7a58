namespace Nibble.Formats.Safetensors;

/// <summary>Tells how far the writing of a file is, and stops it between tensors.</summary>
/// <param name="stage">What is being done.</param>
/// <param name="tensors">How many there are.</param>
/// <param name="progress">Told after each.</param>
/// <param name="cancellation">Stops before one.</param>
internal sealed class WriteProgress(string stage, int tensors, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    private int done;

    /// <summary>Tensors that are the same but for being told about.</summary>
    public static IReadOnlyList<SafetensorsTensor> Track(
        IReadOnlyList<SafetensorsTensor> tensors, string stage, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var tracked = new WriteProgress(stage, tensors.Count, progress, cancellation);
        return [.. tensors.Select(tensor => tensor with { Write = tracked.Track(tensor.Write) })];
    }

    /// <summary>Writes one tensor as before, and tells of it.</summary>
    public Action<Stream> Track(Action<Stream> write) => stream =>
    {
        cancellation.ThrowIfCancellationRequested();
        write(stream);
        progress?.Report(new RunProgress(stage, ++done, tensors));
    };
}
