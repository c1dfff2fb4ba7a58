using Nibble.Files;
using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>What becomes of two texts in one line.</summary>
public enum TextColumns
{
    /// <summary>The model reads them as one sequence.</summary>
    Joined,

    /// <summary>The model reads each by itself.</summary>
    Apart,
}

/// <summary>Texts, tokenized once, with what is right of each line where the data say it.</summary>
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

    /// <summary>The sequences: one a line, or two where texts are read apart.</summary>
    public IReadOnlyList<TokenSequence> Sequences { get; }

    /// <summary>What is right of each line: the number of its class, or a number; null where the data do not say it.</summary>
    public IReadOnlyList<float>? Targets { get; }

    /// <summary>The token that fills up short sequences.</summary>
    public int PaddingId { get; }

    /// <summary>The token that stands for a hidden word; null where the tokenizer has none.</summary>
    public int? MaskId { get; }

    /// <inheritdoc/>
    public long Count => Targets?.Count ?? Sequences.Count;

    /// <inheritdoc/>
    public IReadOnlyList<string> Notes { get; private init; } = [];

    /// <inheritdoc/>
    public string Hash => TokenSequence.HashOf(Sequences, MemoryMarshal.AsBytes<float>([.. Targets ?? []]));

    /// <summary>Reads a file of lines whose cells are divided by tabs; a first line that ends in <c>label</c> or <c>score</c> is a heading.</summary>
    /// <param name="path">The file.</param>
    /// <param name="model">Whose tokenizer to use.</param>
    /// <param name="options">How.</param>
    /// <param name="columns">What becomes of two texts in a line. Where they are read apart, a line may be a text alone.</param>
    /// <param name="parse">Reads a line's last cell; given the cell and the place, for messages.</param>
    /// <param name="cancellation">Gives up waiting for a pipe.</param>
    /// <exception cref="NibbleException">The file is missing, empty or no text in UTF-8, or a line is not of that form.</exception>
    public static TextData Read(
        string path, LoadedModel model, ReadOptions options, TextColumns columns, Func<string, string, float> parse, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(parse);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxLength, 3);
        var form = columns == TextColumns.Joined ? JoinedForm : "'text', or 'text TAB text TAB score'";
        var length = Math.Min(options.MaxLength, model.Definition.MaxSequence);
        var encoder = new SequenceEncoder(model.Tokenizer, length);
        var (sequences, targets) = (new List<TokenSequence>(), new List<float>());
        var cells = 0;
        foreach (var (line, place) in Lines(path, form, cancellation))
        {
            var parts = line.Split('\t');
            cells = cells == 0 ? parts.Length : cells;
            var texts = columns == TextColumns.Apart && cells < 3 ? parts.Length : parts.Length - 1;
            if (parts.Length != cells || texts is < 1 or > 2)
            {
                throw new NibbleException(
                    $"{place} has {parts.Length - 1} tabs, expected {(parts.Length != cells ? $"{cells - 1}, as in the lines before" : form)}");
            }

            if (parts.Take(texts).Any(string.IsNullOrWhiteSpace))
            {
                throw new NibbleException($"{place} has an empty text, expected {form}");
            }

            if (texts < parts.Length)
            {
                targets.Add(parse(parts[^1].Trim(), place));
            }

            sequences.AddRange(columns == TextColumns.Apart ? parts.Take(texts).Select(text => encoder.Encode(text))
                : [encoder.Encode(parts[0], texts > 1 ? parts[1] : null)]);
        }

        var name = Path.GetFileName(path);
        return sequences.Count == 0 ? throw new NibbleException($"{path}: the file holds no text, expected lines {form}")
            : new TextData(name, sequences, targets.Count > 0 ? targets : null, model.Definition.PaddingId, FindMask(model.Tokenizer))
            {
                Notes = encoder.Cut == 0 ? [] :
                [
                    string.Create(CultureInfo.InvariantCulture,
                        $"{encoder.Cut:N0} of the {sequences.Count:N0} texts of {name} are longer than {length} tokens and were cut"),
                ],
            };
    }

    /// <summary>The last cells of the lines of a file: the labels, before it is known what classes there are.</summary>
    /// <exception cref="NibbleException">The file is missing or empty, or a line has no tab.</exception>
    public static IReadOnlyList<string> ReadLabels(string path, CancellationToken cancellation = default)
    {
        List<string> labels = [.. Lines(path, JoinedForm, cancellation).Select(line => line.Line.LastIndexOf('\t') is >= 0 and var tab
            ? line.Line[(tab + 1)..].Trim() : throw new NibbleException($"{line.Place} has no tab, expected {JoinedForm}"))];
        return labels.Count > 0 ? labels : throw new NibbleException($"{path}: the file holds no text, expected lines {JoinedForm}");
    }

    /// <summary>Puts texts side by side.</summary>
    /// <param name="rows">Which sequences.</param>
    /// <param name="hide">Asked for every token between the marks whether <see cref="MaskId"/> stands in its place; null hides none.</param>
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

    /// <summary>What is right of some lines, float32.</summary>
    public Tensor TargetsOf(IReadOnlyList<int> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        return tensor(rows.Select(row => Targets![row]).ToArray());
    }

    /// <summary>Refuses data that do not say what is right.</summary>
    /// <exception cref="NibbleException">They do not.</exception>
    public void RequireTargets()
    {
        if (Targets is null)
        {
            throw new NibbleException(
                $"{Name}: the lines have no score behind their texts, which is what a model is scored by; expected 'text TAB text TAB score'");
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
            throw new NibbleException($"{Name}: {lines.Length} lines, expected at least {2 * HeldOutLeast}, some of them to hold out; give more data");
        }

        SeededRandom.Create(seed).Shuffle(lines);
        return (Part(lines[held..].Order()), Part(lines[..held].Order()));
    }

    /// <summary>Sequences of a line.</summary>
    private int Wide => Targets is null ? 1 : Sequences.Count / Targets.Count;

    /// <summary>Some of the lines.</summary>
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

    private static IEnumerable<(string Line, string Place)> Lines(string path, string form, CancellationToken cancellation)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException(
                Directory.Exists(path) ? $"{path} is a folder, expected a file of lines {form}" : $"{path}: no such file, expected lines {form}");
        }

        var number = 0;
        foreach (var line in InputFile.ReadLines(path, cancellation))
        {
            cancellation.ThrowIfCancellationRequested();
            number++;
            if (number > 1 || !Headings.Contains(line[(line.LastIndexOf('\t') + 1)..].Trim(), StringComparer.OrdinalIgnoreCase))
            {
                yield return (line, $"{path}: line {number}");
            }
        }
    }

    // As the token is called in BERT's vocabulary, and in RoBERTa's; a tokenizer without it spells the name in several tokens.
    private static int? FindMask(TextTokenizer tokenizer) => Single(tokenizer, "[MASK]") ?? Single(tokenizer, "<mask>");

    private static int? Single(TextTokenizer tokenizer, string token) => tokenizer.Encode(token) is [var id] ? id : null;
}
