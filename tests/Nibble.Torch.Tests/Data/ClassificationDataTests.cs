using Nibble.Torch.Data;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Data;

public sealed class ClassificationDataTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly LoadedClassifier classifier;

    public ClassificationDataTests() => classifier = new TinyBert().Create(folder);

    public void Dispose()
    {
        classifier.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData("")]
    [InlineData("sentence\tlabel\n")]
    public void Read_PutsTheTextBetweenItsMarks(string header)
    {
        var data = Read(header + "Good films\t1\r\nbad\tbad\t0\nstrange film\t2");
        Assert.Equal([[2, 5, 7, 8, 3], [2, 6, 6, 3], [2, 1, 7, 3]], data.Sequences);
        Assert.Equal([1, 0, 2], data.Labels);
        Assert.Equal(("data.tsv", 3, 0, 4), (data.Name, data.Count, data.PaddingId, data.MaskId));
    }

    [Theory]
    [InlineData(128, 12)]
    [InlineData(12, 12)]
    [InlineData(5, 5)]
    [InlineData(3, 3)]
    public void Read_CutsLongTexts_ToTheModelsPositionsAtMost(int maxLength, int expected)
    {
        var data = Read(string.Join(' ', Enumerable.Repeat("good", 50)) + "\t1\n", maxLength);
        Assert.Equal(expected, data.Sequences[0].Length);
        Assert.Equal((2, 3), (data.Sequences[0][0], data.Sequences[0][^1]));
        Assert.All(data.Sequences[0][1..^1], id => Assert.Equal(5, id));
    }

    [Theory]
    [InlineData("good\t1\nbad film\n", "line 2 has no tab, expected 'text TAB class'")]
    [InlineData("good\t1\n\nbad\t0\n", "line 2 has no tab")]
    [InlineData("good\t1\nbad\t0\n \t1\n", "line 3 has no text before the tab")]
    [InlineData("good\t3\n", "line 1 ends in '3', expected a class from 0 to 2")]
    [InlineData("good\t-1\n", "line 1 ends in '-1', expected a class from 0 to 2")]
    [InlineData("good\t1.0\n", "line 1 ends in '1.0'")]
    [InlineData("good\t\n", "line 1 ends in ''")]
    [InlineData("good\tlabel\n", "line 1 ends in 'label'")]
    [InlineData("", "the file holds no labelled text, expected lines 'text TAB class'")]
    [InlineData("sentence\tlabel\n", "the file holds no labelled text")]
    public void Read_SaysWhichLineIsWrong(string text, string complaint)
    {
        var message = Assert.Throws<NibbleException>(() => Read(text)).Message;
        Assert.Contains("data.tsv: ", message, StringComparison.Ordinal);
        Assert.Contains(complaint, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_RefusesAFileThatIsNotThere() =>
        Assert.Contains("no such file of labelled texts", Assert.Throws<NibbleException>(() => ClassificationData.Read(folder.File("none.tsv"), classifier)).Message, StringComparison.Ordinal);

    [Fact]
    public void Read_RefusesWhatIsNoUtf8()
    {
        File.WriteAllBytes(folder.File("latin.tsv"), System.Text.Encoding.Latin1.GetBytes("good\t1\ncaf\u00e9\t0\n"));
        Assert.Contains("latin.tsv: byte 0xE9 at offset 10 (line 2)",
            Assert.Throws<NibbleException>(() => ClassificationData.Read(folder.File("latin.tsv"), classifier)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Batch_PadsToItsLongest()
    {
        using var scope = NewDisposeScope();
        var batch = Read("good films\t1\nbad\t0\n").Batch([1, 0]);
        Assert.Equal([2, 6, 3, 0, 0, 2, 5, 7, 8, 3], batch.Ids.data<long>().ToArray());
        Assert.Equal([2, 5], batch.Ids.shape);
        Assert.Equal([true, true, true, false, false, true, true, true, true, true], batch.Mask.data<bool>().ToArray());
        Assert.Equal([0, 1], batch.Labels.data<long>().ToArray());
    }

    [Fact]
    public void Batch_HidesWordsButNoMarks()
    {
        using var scope = NewDisposeScope();
        Assert.Equal([2, 4, 4, 4, 3, 2, 4, 3, 0, 0], Read("good films\t1\nbad\t0\n").Batch([0, 1], () => true).Ids.data<long>().ToArray());
    }

    [Fact]
    public void ByLength_HoldsEveryTextOnce()
    {
        var data = Read("good films\t1\nbad\t0\ngood good\t1\nfilm\t2\n");
        Assert.Equal([[1, 3], [2, 0]], data.ByLength(2));
    }

    [Fact]
    public void ShuffledBatches_HoldEveryTextOnceAnEpoch_InAnotherOrderEachTime()
    {
        var data = Numbered(101);
        var batches = new ShuffledBatches(data, 8, seed: 5);
        Assert.Equal(13, batches.PerEpoch);
        var epochs = Enumerable.Range(0, 3).Select(epoch => Enumerable.Range(0, 13).SelectMany(i => Ids(batches, (epoch * 13) + i)).ToArray()).ToArray();
        var all = Enumerable.Range(0, data.Count).Select(i => Key(data.Sequences[i])).Order(StringComparer.Ordinal).ToArray();
        Assert.All(epochs, epoch => Assert.Equal(all, epoch.Order(StringComparer.Ordinal)));
        Assert.NotEqual(epochs[0], epochs[1]);
        Assert.NotEqual(epochs[1], epochs[2]);
    }

    [Fact]
    public void ShuffledBatches_FollowFromTheSeedAndTheirNumberAlone()
    {
        var data = Numbered(60);
        var forward = new ShuffledBatches(data, 8, seed: 5, maskedShare: 0.3);
        var backward = new ShuffledBatches(data, 8, seed: 5, maskedShare: 0.3);
        var expected = Enumerable.Range(0, 20).Select(i => Ids(forward, i)).ToArray();
        var actual = Enumerable.Range(0, 20).Reverse().Select(i => Ids(backward, i)).Reverse().ToArray();
        Assert.Equal(expected, actual);
        Assert.NotEqual(expected[0], Ids(new ShuffledBatches(data, 8, seed: 6, maskedShare: 0.3), 0));
    }

    [Fact]
    public void ShuffledBatches_HideTheShareOfWordsThatIsAskedFor()
    {
        var data = Read(string.Concat(Enumerable.Repeat("w9 w10 w11 w12 w13 w14 w15 w16\t1\n", 100)));
        using var scope = NewDisposeScope();
        var batches = new ShuffledBatches(data, 100, seed: 1, maskedShare: 0.25);
        var hidden = batches.At(0).Ids.eq(4).sum().item<long>();
        Assert.InRange(hidden / 800.0, 0.2, 0.3);
        Assert.NotEqual(Ids(batches, 0), Ids(batches, 1));
    }

    [Fact]
    public void ShuffledBatches_RefuseToHideWordsWithoutAMask()
    {
        File.WriteAllLines(folder.File("vocabulary/vocab.txt"), TinyBert.Words.Where(word => word != "[MASK]"));
        using var unmasked = LoadedClassifier.Create(new TinyBert().ConfigJson, folder.File("vocabulary"), seed: 1);
        var data = ClassificationData.Read(folder.Write("data.tsv", "good\t1\n"), unmasked);
        Assert.Null(data.MaskId);
        Assert.Contains("no mask token", Assert.Throws<NibbleException>(() => new ShuffledBatches(data, 8, seed: 1, maskedShare: 0.1)).Message, StringComparison.Ordinal);
    }

    private static string Key(IEnumerable<int> ids) => string.Join(' ', ids);

    private static string[] Ids(ShuffledBatches batches, int index)
    {
        using var scope = NewDisposeScope();
        var batch = batches.At(index);
        return [.. Enumerable.Range(0, (int)batch.Ids.shape[0]).Select(row => Key(batch.Ids[row].data<long>().ToArray().Take((int)batch.Mask[row].sum().item<long>()).Select(id => (int)id)))];
    }

    /// <summary>Texts of 1 to 8 words, no two alike.</summary>
    private ClassificationData Numbered(int count) =>
        Read(string.Concat(Enumerable.Range(0, count).Select(i => $"{string.Join(' ', Enumerable.Range(0, 1 + (i % 8)).Select(word => $"w{9 + ((i + (word * (1 + (i / 31)))) % 31)}"))}\t{i % 3}\n").Distinct()));

    private ClassificationData Read(string text, int maxLength = 128) => ClassificationData.Read(folder.Write("data.tsv", text), classifier, maxLength);
}
