namespace Nibble.Formats.Safetensors;

/// <summary>Reports the progress of writing a file, and cancels between tensors.</summary>
/// <param name="stage">The name of the stage.</param>
/// <param name="tensors">The number of tensors.</param>
/// <param name="progress">Receives a report after each tensor.</param>
/// <param name="cancellation">Cancels before a tensor.</param>
internal sealed class WriteProgress(string stage, int tensors, IProgress<RunProgress>? progress, CancellationToken cancellation)
{
    private int done;

    /// <summary>The same tensors, with progress reports.</summary>
    public static IReadOnlyList<SafetensorsTensor> Track(
        IReadOnlyList<SafetensorsTensor> tensors, string stage, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var tracked = new WriteProgress(stage, tensors.Count, progress, cancellation);
        return [.. tensors.Select(tensor => tensor with { Write = tracked.Track(tensor.Write) })];
    }

    /// <summary>Wraps the writing of one tensor with a progress report.</summary>
    public Action<Stream> Track(Action<Stream> write) => stream =>
    {
        cancellation.ThrowIfCancellationRequested();
        write(stream);
        progress?.Report(new RunProgress(stage, ++done, tensors));
    };
}
