using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>A running text as one sequence of token ids.</summary>
/// <param name="Name">The name of the text, for messages.</param>
/// <param name="Ids">The ids. The first is the tokenizer's start token, if it has one.</param>
/// <param name="StartId">The id at the start of every window. Null if the tokenizer has no start token.</param>
public sealed record TokenizedText(string Name, int[] Ids, int? StartId) : ITaskData
{
    private const string Separator = "\n<|endoftext|>\n";

    /// <summary>Reads a text file and tokenizes it once.</summary>
    /// <remarks>
    /// A line <c>&lt;|endoftext|&gt;</c> separates two documents. It is replaced by a blank line. In JSON lines, each object is a document.
    /// </remarks>
    /// <param name="path">The file, which may be a pipe.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="cancellation">Cancels waiting for a pipe.</param>
    /// <exception cref="NibbleException">The file is missing, empty or not UTF-8 text.</exception>
    public static TokenizedText Read(string path, TextTokenizer tokenizer, CancellationToken cancellation = default) =>
        Read([path], tokenizer, cancellation);

    /// <summary>Reads text files as one text, in which each file starts a new document, and tokenizes it once.</summary>
    /// <remarks>Within a file, documents are separated as in <see cref="Read(string, TextTokenizer, CancellationToken)"/>.</remarks>
    /// <param name="paths">The files, at least one. Each may be a pipe.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="cancellation">Cancels waiting for a pipe.</param>
    /// <exception cref="NibbleException">A file is missing, empty or not UTF-8 text, or only some have JSON lines.</exception>
    public static TokenizedText Read(IReadOnlyList<string> paths, TextTokenizer tokenizer, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        List<string> texts = [.. DataFile.Read(paths, "plain text", "no such text file", "a text file", cancellation).Select(TextOf)];
        var text = string.Join("\n\n", texts.Select((text, i) => i < texts.Count - 1 ? text.TrimEnd('\n') : text));
        var ids = tokenizer.Encode(text);
        return new TokenizedText(DataFile.NameOf(paths), tokenizer.StartId is { } start ? [start, .. ids] : ids, tokenizer.StartId);
    }

    private static string TextOf(DataFile file)
    {
        var text = file.IsJsonLines
            ? string.Join("\n\n", JsonLines.Read(file.Text, file.Path).Select(line => line.Cells[0].ReplaceLineEndings("\n")))
            : file.Text.ReplaceLineEndings("\n").Replace(Separator, "\n\n", StringComparison.Ordinal);
        return string.IsNullOrWhiteSpace(text) ? throw new NibbleException($"{file.Path}: the file contains no text") : text;
    }

    /// <summary>The number of complete windows of a given length in the text.</summary>
    public int WindowCount(int length) => Ids.Length / length;

    /// <summary>The share of the text that is held out.</summary>
    private const double HeldOutShare = 0.05;

    /// <summary>The maximum number of held-out windows. Evaluating them should take little time compared with the steps between two evaluations.</summary>
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
                $"{Name}: the text has {Ids.Length} tokens, expected at least two windows of {sequenceLength}, because one is held out. Provide a longer "
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

    /// <summary>A window of consecutive ids. Its first id is replaced by the start token, if there is one.</summary>
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

    /// <summary>The windows that start at the given positions, as an int64 tensor [batch, length].</summary>
    public Tensor Batch(ReadOnlySpan<int> starts, int length)
    {
        var rows = new long[starts.Length * length];
        for (var row = 0; row < starts.Length; row++)
        {
            Window(starts[row], length).CopyTo(rows, row * length);
        }

        return tensor(rows, starts.Length, length);
    }

    /// <summary>Rejects a text that is shorter than one window.</summary>
    /// <exception cref="NibbleException">The text is too short.</exception>
    public void RequireWindow(int length)
    {
        if (Ids.Length < length)
        {
            throw new NibbleException(
                $"{Name}: the text has {Ids.Length} tokens, expected at least one window of {length}. Provide a longer text or use shorter windows");
        }
    }
}
