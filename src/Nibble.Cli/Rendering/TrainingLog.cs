using System.Globalization;
using static TorchSharp.torch.utils;

namespace Nibble.Cli.Rendering;

/// <summary>The curves of a training, step by step: a table and a file of events that TensorBoard shows.</summary>
internal sealed class TrainingLog : IDisposable
{
    private const string TableName = "losses.csv";
    private const string Heading = "step,loss,perplexity,held_out_loss";

    private readonly StreamWriter table;
    private readonly TorchSharp.Modules.SummaryWriter events;
    private long last;

    /// <summary>Opens the files. What a resumed training wrote before stays.</summary>
    /// <param name="folder">The folder, which is created if it is missing.</param>
    /// <exception cref="NibbleException">The folder cannot be written.</exception>
    public TrainingLog(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
            var path = Path.Combine(folder, TableName);
            var isNew = !File.Exists(path);
            table = new StreamWriter(path, append: true) { AutoFlush = true };
            if (isNew)
            {
                table.WriteLine(Heading);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new NibbleException($"{folder}: the curves cannot be written there: {exception.Message}", exception);
        }

        events = tensorboard.SummaryWriter(folder);
    }

    /// <inheritdoc/>
    public void Dispose() => table.Dispose();

    private void Add(RunProgress value)
    {
        if (value is not { Stage: "train", Loss: { } loss } || value.Done == last)
        {
            return;
        }

        last = value.Done;
        var culture = CultureInfo.InvariantCulture;
        table.WriteLine(string.Join(
            ',', value.Done.ToString(culture), loss.ToString("R", culture), value.Perplexity?.ToString("R", culture),
            value.HeldOutLoss?.ToString("R", culture)));
        var step = (int)value.Done;
        events.add_scalar("loss/train", (float)loss, step);
        if (value.HeldOutLoss is { } heldOut)
        {
            events.add_scalar("loss/held out", (float)heldOut, step);
        }
    }

    /// <summary>Progress that is also recorded.</summary>
    public sealed class Progress(IProgress<RunProgress> next, TrainingLog log) : IProgress<RunProgress>
    {
        /// <inheritdoc/>
        public void Report(RunProgress value)
        {
            log.Add(value);
            next.Report(value);
        }
    }
}
