using Nibble.Files;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>A text as one row of token ids.</summary>
/// <param name="Name">What the text is called, for messages.</param>
/// <param name="Ids">The ids; the first is the one that the tokenizer puts before a text, where it puts one there.</param>
/// <param name="StartId">The id that starts every window; null where the tokenizer puts none before a text.</param>
public sealed record TokenizedText(string Name, int[] Ids, int? StartId) : ITaskData
{
    private const string Separator = "\n<|endoftext|>\n";

    /// <summary>Reads a text file and tokenises it once.</summary>
    /// <remarks>A line <c>&lt;|endoftext|&gt;</c> stands between two documents, which are joined by one blank line.</remarks>
    /// <param name="path">The file; a pipe will do.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="cancellation">Gives up waiting for a pipe.</param>
    /// <exception cref="NibbleException">The file is missing or empty, or no text in UTF-8.</exception>
    public static TokenizedText Read(string path, TextTokenizer tokenizer, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        if (!File.Exists(path))
        {
            throw new NibbleException(Directory.Exists(path) ? $"{path} is a folder, expected a text file" : $"{path}: no such text file");
        }

        var text = InputFile.ReadText(path, cancellation).ReplaceLineEndings("\n").Replace(Separator, "\n\n", StringComparison.Ordinal);
        if (string.IsNullOrWhiteSpace(text))
        {
            throw new NibbleException($"{path}: the file holds no text");
        }

        var ids = tokenizer.Encode(text);
        return new TokenizedText(NameOf(path), tokenizer.StartId is { } start ? [start, .. ids] : ids, tokenizer.StartId);
    }

    /// <summary>What to call a text: a pipe's number says nothing by itself.</summary>
    private static string NameOf(string path) => path.StartsWith("/dev/", StringComparison.Ordinal) || path.StartsWith("/proc/", StringComparison.Ordinal)
        ? path
        : Path.GetFileName(path);

    /// <summary>How many windows of a length the text fills.</summary>
    public int WindowCount(int length) => Ids.Length / length;

    /// <summary>Share of a text that is held back.</summary>
    private const double HeldOutShare = 0.05;

    /// <summary>Windows held back at most: a look at them should cost little beside the steps between two.</summary>
    private const int HeldOutWindows = 64;

    /// <inheritdoc/>
    public long Count => Ids.Length;

    /// <inheritdoc/>
    public IReadOnlyList<string> Notes => [];

    /// <inheritdoc/>
    public string Hash => Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes<int>([StartId ?? -1, .. Ids])));

    /// <inheritdoc/>
    public ITrainingBatches Batches(int batchSize, int sequenceLength, long seed)
    {
        RequireWindow(sequenceLength);
        return new RandomWindows(this, sequenceLength, batchSize, seed);
    }

    /// <inheritdoc/>
    public int CountPieces(int length) => WindowCount(length);

    /// <inheritdoc/>
    public ITaskData Take(int first, int count, int length) => this with { Ids = Ids[(first * length)..((first + count) * length)] };

    /// <inheritdoc/>
    public (ITaskData Beginning, ITaskData End) Cut(int count, int length) =>
        (this with { Ids = Ids[..^(count * length)] }, this with { Ids = Ids[^(count * length)..] });

    /// <inheritdoc/>
    public (ITaskData Training, ITaskData HeldOut) Split(int sequenceLength, long seed)
    {
        var count = Math.Clamp((int)(WindowCount(sequenceLength) * HeldOutShare), 1, HeldOutWindows) * sequenceLength;
        if (Ids.Length - count < sequenceLength)
        {
            throw new NibbleException(
                $"{Name}: the text has {Ids.Length} tokens, expected at least two windows of {sequenceLength}, one of them to hold out; give a longer "
                + "text, or set evaluateEvery to 0");
        }

        return (this with { Ids = Ids[..^count] }, this with { Ids = Ids[^count..] });
    }

    /// <inheritdoc/>
    public CalibrationPieces Pieces(int count, int length, long seed)
    {
        RequireWindow(length);
        var windows = Math.Min(count, WindowCount(length));
        return new CalibrationPieces(
            [.. Enumerable.Range(0, windows).Select(window => new TokenSequence(Array.ConvertAll(Window(window * length, length), id => (int)id)))],
            string.Create(CultureInfo.InvariantCulture,
                $"{windows} windows of {length} tokens of {(Name == SelfText.Name ? "text that the float model wrote itself" : Name)}"))
        {
            WindowTokens = length,
        };
    }

    /// <summary>A window of consecutive ids, the first replaced by the one that starts every window, where there is such.</summary>
    public long[] Window(int start, int length)
    {
        var window = new long[length];
        for (var i = 0; i < length; i++)
        {
            window[i] = Ids[start + i];
        }

        window[0] = StartId ?? window[0];
        return window;
    }

    /// <summary>The windows that begin at some places, as an int64 tensor [batch, length].</summary>
    public Tensor Batch(ReadOnlySpan<int> starts, int length)
    {
        var rows = new long[starts.Length * length];
        for (var row = 0; row < starts.Length; row++)
        {
            Window(starts[row], length).CopyTo(rows, row * length);
        }

        return tensor(rows, starts.Length, length);
    }

    /// <summary>Refuses a text shorter than one window.</summary>
    /// <exception cref="NibbleException">The text is too short.</exception>
    public void RequireWindow(int length)
    {
        if (Ids.Length < length)
        {
            throw new NibbleException(
                $"{Name}: the text has {Ids.Length} tokens, expected at least one window of {length}; give a longer text or shorter windows");
        }
    }
}
