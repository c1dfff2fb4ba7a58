using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>How two texts on one line are read.</summary>
public enum TextColumns
{
    /// <summary>The model reads them as one sequence.</summary>
    Joined,

    /// <summary>The model reads each text separately.</summary>
    Apart,
}

/// <summary>Tokenized texts, with the correct answer for each line if the data include it.</summary>
public sealed class TextData : ITaskData
{
    private const string JoinedForm = "'text TAB label' or 'text TAB text TAB label'";
    private const int HeldOutLeast = 20;
    private const int HeldOutMost = 1000;
    private static readonly string[] Headings = ["label", "score", "class", "labels"];

    private TextData(string name, IReadOnlyList<TokenSequence> sequences, IReadOnlyList<float>? targets, int paddingId, int? maskId)
    {
        Name = name;
        Sequences = sequences;
        Targets = targets;
        PaddingId = paddingId;
        MaskId = maskId;
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>The sequences: one per line, or two if the texts of a line are read separately.</summary>
    public IReadOnlyList<TokenSequence> Sequences { get; }

    /// <summary>The correct answer for each line: the number of its class, or a value. Null if the data do not include it.</summary>
    public IReadOnlyList<float>? Targets { get; }

    /// <summary>The token that fills shorter sequences.</summary>
    public int PaddingId { get; }

    /// <summary>The mask token, which replaces hidden words. Null if the tokenizer has none.</summary>
    public int? MaskId { get; }

    /// <inheritdoc/>
    public long Count => Targets?.Count ?? Sequences.Count;

    /// <inheritdoc/>
    public IReadOnlyList<string> Notes { get; private init; } = [];

    /// <inheritdoc/>
    public string Hash => TokenSequence.HashOf(Sequences, MemoryMarshal.AsBytes<float>([.. Targets ?? []]));

    /// <summary>Reads files with tab-separated cells. A first line that ends in <c>label</c> or <c>score</c> is a heading.</summary>
    /// <param name="paths">The files, at least one, whose lines are read in order.</param>
    /// <param name="model">The model whose tokenizer to use.</param>
    /// <param name="options">The options.</param>
    /// <param name="columns">How two texts on a line are read. If they are read separately, a line may also hold one text and nothing else.</param>
    /// <param name="parse">Parses the last cell of a line. Receives the cell and its position for messages.</param>
    /// <param name="cancellation">Cancels waiting for a pipe.</param>
    /// <exception cref="NibbleException">A file is missing, empty or not UTF-8 text, or a line has another format.</exception>
    public static TextData Read(
        IReadOnlyList<string> paths, LoadedModel model, ReadOptions options, TextColumns columns, Func<string, string, float> parse,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(parse);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxLength, 3);
        var form = columns == TextColumns.Joined ? JoinedForm : "'text', or 'text TAB text TAB score'";
        var length = Math.Min(options.MaxLength, model.Definition.MaxSequence);
        var encoder = new SequenceEncoder(model.Tokenizer, length);
        var (sequences, targets) = (new List<TokenSequence>(), new List<float>());
        var (cells, cut) = (0, 0);
        foreach (var (parts, place, file) in Lines(paths, form, columns == TextColumns.Joined, cancellation))
        {
            cells = cells == 0 ? parts.Length : cells;
            var texts = columns == TextColumns.Apart && cells < 3 ? parts.Length : parts.Length - 1;
            if (parts.Length != cells || texts is < 1 or > 2)
            {
                var known = $"{cells - 1}, as in {(file == paths[0] ? "the previous lines" : paths[0])}";
                throw new NibbleException($"{place} has {parts.Length - 1} tabs, expected {(parts.Length != cells ? known : form)}");
            }

            if (parts.Take(texts).Any(string.IsNullOrWhiteSpace))
            {
                throw new NibbleException($"{place} has an empty text, expected {form}");
            }

            if (texts < parts.Length)
            {
                targets.Add(parse(parts[^1].Trim(), place));
            }

            foreach (var text in columns == TextColumns.Apart ? parts.Take(texts).Select(text => encoder.Encode(text))
                : [encoder.Encode(parts[0], texts > 1 ? parts[1] : null)])
            {
                sequences.Add(new TokenSequence(text.Ids, text.FirstLength));
                cut += text.IsCut ? 1 : 0;
            }
        }

        var name = DataFile.NameOf(paths);
        return new TextData(name, sequences, targets.Count > 0 ? targets : null, model.Definition.PaddingId, FindMask(model.Tokenizer))
        {
            Notes = cut == 0 ? [] :
            [
                string.Create(CultureInfo.InvariantCulture,
                    $"{cut:N0} of the {sequences.Count:N0} texts of {name} are longer than {length} tokens and were cut"),
            ],
        };
    }

    /// <summary>The last cell of each line of files. These are the labels, read before the set of classes is known.</summary>
    /// <exception cref="NibbleException">A file is missing or empty, or a line has no tab.</exception>
    public static IReadOnlyList<string> ReadLabels(IReadOnlyList<string> paths, CancellationToken cancellation = default) =>
        [.. Lines(paths, JoinedForm, requiresAnswer: true, cancellation).Select(line => line.Cells.Length > 1
            ? line.Cells[^1].Trim() : throw new NibbleException($"{line.Place} has no tab, expected {JoinedForm}"))];

    /// <summary>Creates a batch of texts.</summary>
    /// <param name="rows">The indices of the sequences.</param>
    /// <param name="hide">Called for every token that is not a special token. True replaces it with <see cref="MaskId"/>. Null masks nothing.</param>
    public ModelBatch Batch(IReadOnlyList<int> rows, Func<bool>? hide = null)
    {
        ArgumentNullException.ThrowIfNull(rows);
        List<TokenSequence> chosen = [.. rows.Select(row => Sequences[row])];
        if (hide is null)
        {
            return ModelBatch.Of(chosen, PaddingId);
        }

        var marks = chosen.SelectMany(sequence => new[] { sequence.Ids[0], sequence.Ids[^1] }).ToHashSet();
        return ModelBatch.Of(chosen, PaddingId, (_, id) => !marks.Contains(id) && hide() ? MaskId!.Value : id);
    }

    /// <summary>The correct answers for some lines, float32.</summary>
    public Tensor TargetsOf(IReadOnlyList<int> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        return tensor(rows.Select(row => Targets![row]).ToArray());
    }

    /// <summary>Rejects data without correct answers.</summary>
    /// <exception cref="NibbleException">The data do not include them.</exception>
    public void RequireTargets()
    {
        if (Targets is null)
        {
            throw new NibbleException(
                $"{Name}: the lines have no score after their texts, which scoring a model requires; expected 'text TAB text TAB score'");
        }
    }

    /// <inheritdoc/>
    public CalibrationPieces Pieces(int count, int length, long seed)
    {
        var budget = (long)count * length;
        var order = Enumerable.Range(0, Sequences.Count).ToArray();
        SeededRandom.Create(seed).Shuffle(order);
        var chosen = new List<TokenSequence>();
        foreach (var row in order)
        {
            var sequence = Sequences[row];
            chosen.Add(sequence.Ids.Length <= length ? sequence : new TokenSequence(sequence.Ids[..length], Math.Min(sequence.FirstLength, length)));
            budget -= chosen[^1].Ids.Length;
            if (budget <= 0)
            {
                break;
            }
        }

        return new CalibrationPieces(
            [.. chosen.OrderBy(sequence => sequence.Ids.Length)], string.Create(CultureInfo.InvariantCulture, $"{chosen.Count} texts of {Name}"));
    }

    /// <inheritdoc/>
    public ITrainingBatches Batches(int batchSize, int sequenceLength, long seed) => new ShuffledBatches(this, batchSize, seed);

    /// <inheritdoc/>
    public int CountPieces(int length) => Sequences.Count / Wide;

    /// <inheritdoc/>
    public ITaskData Take(int first, int count, int length) => Part(Enumerable.Range(first, count));

    /// <inheritdoc/>
    public (ITaskData Beginning, ITaskData End) Cut(int count, int length)
    {
        var lines = CountPieces(length);
        return (Part(Enumerable.Range(0, lines - count)), Part(Enumerable.Range(lines - count, count)));
    }

    /// <inheritdoc/>
    public (ITaskData Training, ITaskData HeldOut) Split(int sequenceLength, long seed)
    {
        var lines = Enumerable.Range(0, CountPieces(sequenceLength)).ToArray();
        var held = Math.Clamp(lines.Length / 10, HeldOutLeast, HeldOutMost);
        if (lines.Length < 2 * held)
        {
            throw new NibbleException($"{Name}: {lines.Length} lines, expected at least {2 * HeldOutLeast}, because some are held out. Provide more data");
        }

        SeededRandom.Create(seed).Shuffle(lines);
        return (Part(lines[held..].Order()), Part(lines[..held].Order()));
    }

    /// <summary>The number of sequences per line.</summary>
    private int Wide => Targets is null ? 1 : Sequences.Count / Targets.Count;

    /// <summary>A subset of the lines.</summary>
    private TextData Part(IEnumerable<int> lines)
    {
        int[] chosen = [.. lines];
        return new TextData(
            Name,
            [.. chosen.SelectMany(line => Enumerable.Range(line * Wide, Wide)).Select(row => Sequences[row])],
            Targets is null ? null : [.. chosen.Select(line => Targets[line])],
            PaddingId,
            MaskId);
    }

    /// <summary>The cells of each line, of tab-separated cells or JSON lines, with their place and their file.</summary>
    private static IEnumerable<(string[] Cells, string Place, string File)> Lines(
        IReadOnlyList<string> paths, string form, bool requiresAnswer, CancellationToken cancellation)
    {
        var files = DataFile.Read(
            paths, "tab-separated lines", $"no such file, expected lines of the form {form}", $"a file with lines of the form {form}", cancellation);
        foreach (var file in files)
        {
            var isEmpty = true;
            foreach (var (cells, place) in Lines(file, requiresAnswer))
            {
                cancellation.ThrowIfCancellationRequested();
                isEmpty = false;
                yield return (cells, place, file.Path);
            }

            if (isEmpty)
            {
                throw new NibbleException($"{file.Path}: the file contains no text, expected lines of the form {form}");
            }
        }
    }

    private static IEnumerable<(string[] Cells, string Place)> Lines(DataFile file, bool requiresAnswer)
    {
        if (file.IsJsonLines)
        {
            foreach (var (cells, hasAnswer, place) in JsonLines.Read(file.Text, file.Path))
            {
                yield return hasAnswer || !requiresAnswer ? (cells, place) : throw new NibbleException($"{place} has neither 'label' nor 'score'");
            }

            yield break;
        }

        using var reader = new StringReader(file.Text);
        for (var number = 1; reader.ReadLine() is { } line; number++)
        {
            var cells = line.Split('\t');
            if (number > 1 || !Headings.Contains(cells[^1].Trim(), StringComparer.OrdinalIgnoreCase))
            {
                yield return (cells, $"{file.Path}: line {number}");
            }
        }
    }

    // The name of the mask token in BERT's and in RoBERTa's vocabulary. A tokenizer without it encodes the name as several tokens.
    private static int? FindMask(TextTokenizer tokenizer) => Single(tokenizer, "[MASK]") ?? Single(tokenizer, "<mask>");

    private static int? Single(TextTokenizer tokenizer, string token) => tokenizer.Encode(token) is [var id] ? id : null;
}
