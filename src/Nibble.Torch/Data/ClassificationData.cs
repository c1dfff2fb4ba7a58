using System.Globalization;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models.Bert;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>Sequences of a batch, padded to its longest, with their classes.</summary>
/// <param name="Ids">Token ids, int64 [batch, length].</param>
/// <param name="Mask">Which tokens are no padding, bool [batch, length].</param>
/// <param name="Labels">Classes, int64 [batch].</param>
public sealed record ClassificationBatch(Tensor Ids, Tensor Mask, Tensor Labels) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose()
    {
        Ids.Dispose();
        Mask.Dispose();
        Labels.Dispose();
    }
}

/// <summary>Texts with their classes, tokenized once.</summary>
public sealed class ClassificationData
{
    /// <summary>Tokens to which texts are cut where nothing else is asked for.</summary>
    public const int UsualLength = 128;

    private ClassificationData(string name, IReadOnlyList<int[]> sequences, IReadOnlyList<int> labels, int paddingId, int? maskId)
    {
        Name = name;
        Sequences = sequences;
        Labels = labels;
        PaddingId = paddingId;
        MaskId = maskId;
    }

    /// <summary>What the data are called, for messages.</summary>
    public string Name { get; }

    /// <summary>The token ids of each text, between those that mark its beginning and its end.</summary>
    public IReadOnlyList<int[]> Sequences { get; }

    /// <summary>The class of each text, from 0.</summary>
    public IReadOnlyList<int> Labels { get; }

    /// <summary>The token that fills up short sequences.</summary>
    public int PaddingId { get; }

    /// <summary>The token that stands for a hidden word; null where the tokenizer has none.</summary>
    public int? MaskId { get; }

    /// <summary>How many texts there are.</summary>
    public int Count => Sequences.Count;

    /// <summary>Reads a file of lines <c>text TAB class</c>, as SST-2 is given out; a first line <c>sentence TAB label</c> is skipped.</summary>
    /// <param name="path">The file.</param>
    /// <param name="classifier">Whose tokenizer and classes to use.</param>
    /// <param name="maxLength">Longer sequences are cut to this many tokens, their marks included; at least 3.</param>
    /// <exception cref="NibbleException">The file is missing, empty or no text in UTF-8, or a line is not of that form.</exception>
    public static ClassificationData Read(string path, LoadedClassifier classifier, int maxLength = UsualLength)
    {
        ArgumentNullException.ThrowIfNull(classifier);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLength, 3);
        if (!File.Exists(path))
        {
            throw new NibbleException($"{path}: no such file of labelled texts");
        }

        var config = classifier.Model.Config;
        var length = Math.Min(maxLength, config.MaxLength);
        var (sequences, labels) = (new List<int[]>(), new List<int>());
        var number = 0;
        foreach (var line in InputFile.ReadLines(path))
        {
            number++;
            if (number == 1 && line == "sentence\tlabel")
            {
                continue;
            }

            var (text, label) = ParseLine(line, config.Labels, $"{path}: line {number}");
            sequences.Add(Encode(text, classifier.Tokenizer, length));
            labels.Add(label);
        }

        return sequences.Count > 0
            ? new ClassificationData(Path.GetFileName(path), sequences, labels, config.PaddingId, FindMask(classifier.Tokenizer))
            : throw new NibbleException($"{path}: the file holds no labelled text, expected lines 'text TAB class'");
    }

    /// <summary>A text's ids between the tokens that mark its beginning and its end: <c>[CLS] text [SEP]</c>, or <c>&lt;s&gt; text &lt;/s&gt;</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="tokenizer">A tokenizer that has both marks.</param>
    /// <param name="maxLength">The end of a longer text is cut away.</param>
    public static int[] Encode(string text, TextTokenizer tokenizer, int maxLength)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLength, 2);
        var ids = tokenizer.Encode(text);
        return [(tokenizer.StartId ?? tokenizer.BosId)!.Value, .. ids.AsSpan(0, Math.Min(ids.Length, maxLength - 2)),
            (tokenizer.EndId ?? tokenizer.EosId)!.Value];
    }

    /// <summary>Puts texts into one batch.</summary>
    /// <param name="indices">Which texts.</param>
    /// <param name="hide">Asked for every token between the marks whether <see cref="MaskId"/> stands in its place; null hides none.</param>
    public ClassificationBatch Batch(IReadOnlyList<int> indices, Func<bool>? hide = null)
    {
        ArgumentNullException.ThrowIfNull(indices);
        var (rows, length) = (indices.Count, indices.Max(index => Sequences[index].Length));
        var (ids, mask, labels) = (new long[rows * length], new bool[rows * length], new long[rows]);
        Array.Fill(ids, PaddingId);
        for (var row = 0; row < rows; row++)
        {
            var sequence = Sequences[indices[row]];
            for (var i = 0; i < sequence.Length; i++)
            {
                var hidden = i > 0 && i < sequence.Length - 1 && hide?.Invoke() == true;
                ids[(row * length) + i] = hidden ? MaskId!.Value : sequence[i];
                mask[(row * length) + i] = true;
            }

            labels[row] = Labels[indices[row]];
        }

        return new ClassificationBatch(tensor(ids, rows, length), tensor(mask, rows, length), tensor(labels));
    }

    /// <summary>All texts, each in one batch, those of like length together, so that little is padded.</summary>
    /// <param name="batchSize">Texts in a batch.</param>
    public IEnumerable<int[]> ByLength(int batchSize) => Enumerable.Range(0, Count).OrderBy(index => Sequences[index].Length).Chunk(batchSize);

    private static (string Text, int Label) ParseLine(string line, int labels, string place)
    {
        var tab = line.LastIndexOf('\t');
        if (tab < 0)
        {
            throw new NibbleException($"{place} has no tab, expected 'text TAB class'");
        }

        var text = line[..tab];
        if (string.IsNullOrWhiteSpace(text))
        {
            throw new NibbleException($"{place} has no text before the tab, expected 'text TAB class'");
        }

        return int.TryParse(line.AsSpan(tab + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var label) && label < labels
            ? (text, label)
            : throw new NibbleException($"{place} ends in '{line[(tab + 1)..]}', expected a class from 0 to {labels - 1}");
    }

    // As the token is called in BERT's vocabulary, and in RoBERTa's; a tokenizer without it spells the name in several tokens.
    private static int? FindMask(TextTokenizer tokenizer) => Single(tokenizer, "[MASK]") ?? Single(tokenizer, "<mask>");

    private static int? Single(TextTokenizer tokenizer, string token) => tokenizer.Encode(token) is [var id] ? id : null;
}
