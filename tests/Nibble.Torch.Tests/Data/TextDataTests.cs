using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Data;

public sealed class TextDataTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly LoadedModel classifier;

    public TextDataTests() => classifier = new TinyBert().Create(folder);

    public void Dispose()
    {
        classifier.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData("")]
    [InlineData("sentence\tlabel\n")]
    public void ReadPutsTheTextBetweenItsMarks(string header)
    {
        var data = Read(header + "Good films\t1\r\nbad\t0\nstrange film\t2");
        Assert.Equal([[2, 5, 7, 8, 3], [2, 6, 3], [2, 1, 7, 3]], data.Sequences.Select(sequence => sequence.Ids));
        Assert.Equal([1, 0, 2], data.Targets!);
        Assert.Equal(("data.tsv", 3, 0, 4), (data.Name, data.Count, data.PaddingId, data.MaskId));
    }

    [Theory]
    [InlineData("""{"text": "Good films", "label": 1}""", """{"label": "0", "text": "bad"}""")]
    [InlineData("""{"sentence": "Good films", "label": 1, "idx": 7}""", """{"idx": 8, "sentence": "bad", "label": 0}""")]
    public void ReadTakesJsonLines(string first, string second)
    {
        var data = Read($"\n{first}\n{second}\n");
        Assert.Equal([[2, 5, 7, 8, 3], [2, 6, 3]], data.Sequences.Select(sequence => sequence.Ids));
        Assert.Equal([1, 0], data.Targets!);
        Assert.Equal(["1", "0"], TextData.ReadLabels([folder.Write("labels.jsonl", $"{first}\n{second}")]));
    }

    [Theory]
    [InlineData("""{"sentence1": "good film", "sentence2": "bad", "score": 2}""")]
    [InlineData("""{"text": "good film", "text_pair": "bad", "label": 2}""")]
    public void ReadTakesPairsInJsonLines(string line)
    {
        var (pairs, cells) = (Read(line), Read("good film\tbad\t2"));
        Assert.Equal(cells.Sequences.Select(sequence => sequence.Ids), pairs.Sequences.Select(sequence => sequence.Ids));
        Assert.Equal(cells.Targets!, pairs.Targets!);
    }

    [Theory]
    [InlineData("{\"text\": \"good\", \"label\": 1}\n\nbad\t0\n", "line 3 is not JSON, but the first line is")]
    [InlineData("{\"text\": \"good\", \"label\": 1}\n[1]\n", "line 2 is not an object with text in 'text', 'sentence'")]
    [InlineData("{\"words\": \"good\", \"label\": 1}\n", "line 1 is not an object with text")]
    [InlineData("{\"text\": \"good\"}\n", "line 1 has neither 'label' nor 'score'")]
    [InlineData("{\"text\": [\"good\"], \"label\": 1}\n", "line 1 has array where text, a label or a score is expected")]
    [InlineData("{\"text\": \"good\", \"label\": null}\n", "line 1 has null where text")]
    public void ReadSaysWhichJsonLineIsWrong(string text, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => Read(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(128, 12)]
    [InlineData(12, 12)]
    [InlineData(5, 5)]
    [InlineData(3, 3)]
    public void ReadCutsLongTextsToTheModelsPositionsAtMost(int maxLength, int expected)
    {
        var data = Read(string.Join(' ', Enumerable.Repeat("good", 50)) + "\t1\n", maxLength);
        Assert.Equal(expected, data.Sequences[0].Ids.Length);
        Assert.Equal((2, 3), (data.Sequences[0].Ids[0], data.Sequences[0].Ids[^1]));
        Assert.All(data.Sequences[0].Ids[1..^1], id => Assert.Equal(5, id));
        Assert.Equal([$"1 of the 1 texts of data.tsv are longer than {expected} tokens and were cut"], data.Notes);
    }

    [Theory]
    [InlineData("good\t1\nbad film\n", "line 2 has 0 tabs, expected 1, as in the previous lines")]
    [InlineData("good\t1\n\nbad\t0\n", "line 2 has 0 tabs")]
    [InlineData("good\t1\nbad\t0\n \t1\n", "line 3 has an empty text")]
    [InlineData("good\t3\n", "line 1 ends in '3', expected a class of the model: 0 to 2, or a, b, c")]
    [InlineData("good\t-1\n", "line 1 ends in '-1', expected a class of the model: 0 to 2, or a, b, c")]
    [InlineData("good\t1.0\n", "line 1 ends in '1.0'")]
    [InlineData("good\t\n", "line 1 ends in ''")]
    [InlineData("good\tno\n", "line 1 ends in 'no'")]
    [InlineData("good\tbad\tfilm\t1\n", "line 1 has 3 tabs, expected 'text TAB label' or 'text TAB text TAB label'")]
    [InlineData("", "the file contains no text, expected lines of the form 'text TAB label'")]
    [InlineData("sentence\tlabel\n", "the file contains no text")]
    public void ReadSaysWhichLineIsWrong(string text, string complaint)
    {
        var message = Assert.Throws<NibbleException>(() => Read(text)).Message;
        Assert.Contains("data.tsv: ", message, StringComparison.Ordinal);
        Assert.Contains(complaint, message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadAppendsTheLinesOfFilesAndSkipsEachHeading()
    {
        var (a, b) = (folder.Write("a.tsv", "sentence\tlabel\nGood films\t1\n"), folder.Write("b.tsv", "sentence\tlabel\nbad\t0\n"));
        var data = (TextData)new Classification().Read([a, b], classifier, new ReadOptions());
        Assert.Equal([[2, 5, 7, 8, 3], [2, 6, 3]], data.Sequences.Select(sequence => sequence.Ids));
        Assert.Equal([1, 0], data.Targets!);
        Assert.Equal("a.tsv + b.tsv", data.Name);
        Assert.Equal(["1", "0"], TextData.ReadLabels([a, b]));
    }

    [Theory]
    [InlineData("good\tbad\t1\n", "b.tsv: line 1 has 2 tabs, expected 1, as in ", "a.tsv")]
    [InlineData("{\"text\": \"good\", \"label\": 1}", "b.tsv has JSON lines, but ", "a.tsv has tab-separated lines")]
    [InlineData("sentence\tlabel\n", "b.tsv: the file contains no text", "")]
    public void ReadRefusesAFileUnlikeTheFirst(string second, string complaint, string further)
    {
        var (a, b) = (folder.Write("a.tsv", "good\t1\n"), folder.Write("b.tsv", second));
        var message = Assert.Throws<NibbleException>(() => new Classification().Read([a, b], classifier, new ReadOptions())).Message;
        Assert.Contains(complaint, message, StringComparison.Ordinal);
        Assert.Contains(further, message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadRefusesAFileThatIsNotThere() =>
        Assert.Contains("no such file, expected lines", Assert.Throws<NibbleException>(() => Read(classifier, folder.File("none.tsv"))).Message,
            StringComparison.Ordinal);

    [Fact]
    public void ReadRefusesWhatIsNoUtf8()
    {
        File.WriteAllBytes(folder.File("latin.tsv"), System.Text.Encoding.Latin1.GetBytes("good\t1\ncaf\u00e9\t0\n"));
        Assert.Contains("latin.tsv: byte 0xE9 at offset 10 (line 2)",
            Assert.Throws<NibbleException>(() => Read(classifier, folder.File("latin.tsv"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BatchPadsToItsLongest()
    {
        using var scope = NewDisposeScope();
        var batch = Read("good films\t1\nbad\t0\n").Batch([1, 0]);
        Assert.Equal([2, 6, 3, 0, 0, 2, 5, 7, 8, 3], batch.Ids.data<long>().ToArray());
        Assert.Equal([2, 5], batch.Ids.shape);
        Assert.Equal([true, true, true, false, false, true, true, true, true, true], batch.Mask!.data<bool>().ToArray());
        Assert.Equal([0, 1], Read("good films\t1\nbad\t0\n").TargetsOf([1, 0]).data<float>().ToArray());
    }

    [Fact]
    public void BatchHidesWordsButNoMarks()
    {
        using var scope = NewDisposeScope();
        Assert.Equal([2, 4, 4, 4, 3, 2, 4, 3, 0, 0], Read("good films\t1\nbad\t0\n").Batch([0, 1], () => true).Ids.data<long>().ToArray());
    }

    [Fact]
    public void PairsAreOneSequenceWhoseTypesTellThemApart()
    {
        var data = Read("good film\tbad\t1\nfilm\tgood\tb\n");
        Assert.Equal([[2, 5, 7, 3, 6, 3], [2, 7, 3, 5, 3]], data.Sequences.Select(sequence => sequence.Ids));
        Assert.Equal([1, 1], data.Targets!);
        using var scope = NewDisposeScope();
        Assert.Equal([0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0], data.Batch([0, 1]).Types!.data<long>().ToArray());
    }

    [Fact]
    public void PairsAreCutWhereTheyAreLongest()
    {
        var data = Read("good good good good good good\tbad bad\t1\n", 8);
        Assert.Equal([2, 5, 5, 5, 3, 6, 6, 3], data.Sequences[0].Ids);
        Assert.Equal(5, data.Sequences[0].FirstLength);
        Assert.Single(data.Notes);
    }

    [Fact]
    public void PiecesHoldTheTokensThatAreAskedForShortTextsFirst()
    {
        var data = Numbered(60);
        var pieces = data.Pieces(4, 10, seed: 3);
        Assert.InRange(pieces.Tokens, 40, 50);
        Assert.Equal(pieces.Sequences.Select(sequence => sequence.Ids.Length).Order(), pieces.Sequences.Select(sequence => sequence.Ids.Length));
        Assert.All(pieces.Sequences, sequence => Assert.InRange(sequence.Ids.Length, 3, 10));
        Assert.Equal(pieces.Sequences.Select(sequence => Key(sequence.Ids)), data.Pieces(4, 10, seed: 3).Sequences.Select(sequence => Key(sequence.Ids)));
        Assert.NotEqual(pieces.Sequences.Select(sequence => Key(sequence.Ids)), data.Pieces(4, 10, seed: 4).Sequences.Select(sequence => Key(sequence.Ids)));
    }

    [Fact]
    public void SplitHoldsEveryTextOnce()
    {
        var data = Numbered(100);
        var (training, held) = data.Split(0, seed: 1);
        Assert.Equal(20, held.Count);
        Assert.Equal(
            data.Sequences.Select(sequence => Key(sequence.Ids)).Order(StringComparer.Ordinal),
            ((TextData)training).Sequences.Concat(((TextData)held).Sequences).Select(sequence => Key(sequence.Ids)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void ShuffledBatchesHoldEveryTextOnceAnEpochInAnotherOrderEachTime()
    {
        var data = Numbered(101);
        var batches = new ShuffledBatches(data, 8, seed: 5);
        Assert.Equal(13, batches.PerEpoch);
        var epochs = Enumerable.Range(0, 3).Select(epoch => Enumerable.Range(0, 13).SelectMany(i => Ids(batches, (epoch * 13) + i)).ToArray()).ToArray();
        var all = data.Sequences.Select(sequence => Key(sequence.Ids)).Order(StringComparer.Ordinal).ToArray();
        Assert.All(epochs, epoch => Assert.Equal(all, epoch.Order(StringComparer.Ordinal)));
        Assert.NotEqual(epochs[0], epochs[1]);
        Assert.NotEqual(epochs[1], epochs[2]);
    }

    [Fact]
    public void ShuffledBatchesFollowFromTheSeedAndTheirNumberAlone()
    {
        var data = Numbered(60);
        var forward = new ShuffledBatches(data, 8, seed: 5) { MaskedShare = 0.3 };
        var backward = new ShuffledBatches(data, 8, seed: 5) { MaskedShare = 0.3 };
        var expected = Enumerable.Range(0, 20).Select(i => Ids(forward, i)).ToArray();
        var actual = Enumerable.Range(0, 20).Reverse().Select(i => Ids(backward, i)).Reverse().ToArray();
        Assert.Equal(expected, actual);
        Assert.NotEqual(expected[0], Ids(new ShuffledBatches(data, 8, seed: 6) { MaskedShare = 0.3 }, 0));
    }

    [Fact]
    public void ShuffledBatchesHideTheShareOfWordsThatIsAskedFor()
    {
        var data = Read(string.Concat(Enumerable.Repeat("w9 w10 w11 w12 w13 w14 w15 w16\t1\n", 100)));
        using var scope = NewDisposeScope();
        var batches = new ShuffledBatches(data, 100, seed: 1) { MaskedShare = 0.25 };
        var hidden = batches.At(1, 0, 1).Input.Ids.eq(4).sum().item<long>();
        Assert.InRange(hidden / 800.0, 0.2, 0.3);
        Assert.NotEqual(Ids(batches, 0), Ids(batches, 1));
    }

    [Fact]
    public void ShuffledBatchesRefuseToHideWordsWithoutAMask()
    {
        File.WriteAllLines(folder.File("vocabulary/vocab.txt"), TinyBert.Words.Where(word => word != "[MASK]"));
        using var unmasked = LoadedModel.Create(new TinyBert().ConfigJson, folder.File("vocabulary"), seed: 1);
        var data = Read(unmasked, folder.Write("data.tsv", "good\t1\n"));
        Assert.Null(data.MaskId);
        Assert.Contains("no mask token", Assert.Throws<NibbleException>(() => new ShuffledBatches(data, 8, seed: 1) { MaskedShare = 0.1 }).Message,
            StringComparison.Ordinal);
    }

    private static string Key(IEnumerable<int> ids) => string.Join(' ', ids);

    private static string[] Ids(ShuffledBatches batches, int index)
    {
        using var scope = NewDisposeScope();
        var batch = batches.At(index + 1, 0, 1).Input;
        return [.. Enumerable.Range(0, (int)batch.Ids.shape[0]).Select(
            row => Key(batch.Ids[row].data<long>().ToArray().Take((int)(batch.Mask?[row].sum().item<long>() ?? batch.Ids.shape[1])).Select(id => (int)id)))];
    }

    /// <summary>Texts of 1 to 8 words, no two alike.</summary>
    private TextData Numbered(int count) =>
        Read(string.Concat(Enumerable.Range(
            0, count).Select(i => $"{string.Join(' ', Enumerable.Range(0, 1 + (i % 8)).Select(word => $"w{9 + ((i + (word * (1 + (i / 31)))) % 31)}"))}\t{i % 3}\n").Distinct()));

    private TextData Read(string text, int maxLength = 128) => Read(classifier, folder.Write("data.tsv", text), maxLength);

    private static TextData Read(LoadedModel model, string path, int maxLength = 128) =>
        (TextData)new Classification().Read(path, model, new ReadOptions(maxLength));
}
