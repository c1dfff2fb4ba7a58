using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Nibble.Samples.Storyteller;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Samples;

public class BytePairTrainerTests
{
    private static readonly BytePairTokenizer Committed = Load();
    private static readonly HashSet<string> Vocabulary = [.. Committed.Tokens];
    private static readonly Dictionary<(string Left, string Right),
    int> Ranks = Committed.Merges.Index().ToDictionary(merge => merge.Item, merge => merge.Index);

    [Fact]
    public void TheCommittedVocabularyIsTwoSpecialTokensAllBytesAndTheMerges()
    {
        Assert.Equal(2048, Committed.Tokens.Count);
        Assert.Equal(2048, Committed.Tokens.Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(["<s>", "</s>"], Committed.Tokens.Take(2));
        Assert.Equal(BytePairTrainer.Alphabet.Order(), Committed.Tokens.Skip(2).Take(256).Select(token => token.Single()));
        Assert.Equal(Committed.Tokens.Skip(258), Committed.Merges.Select(merge => merge.Left + merge.Right));
    }

    [Fact]
    public void TheCommittedFileIsWhatTrainingWritesAgain()
    {
        var stories = Stories.Read([new FileInfo(SharedData.Require("tinystories/train.txt"))]);
        Assert.Equal(File.ReadAllText(StorytellerFolder.Find("model/tokenizer.json")), BytePairTrainer.Train(stories, 2048).ToJson());
    }

    [Fact]
    public void AnyTextComesBackFromItsTokens() => Gen.String.Sample(text =>
    {
        // A lone surrogate is no UTF-8 text; what can be encoded is the text after replacement.
        var expected = Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
        Assert.Equal(expected, Decode(Encode(expected)));
    });

    [Theory]
    [InlineData("Once upon a time, there was a girl.")]
    [InlineData("naïve café, 東京 🦊\r\n\t\u0000 end\u00ad ")]
    public void TextComesBack(string text) => Assert.Equal(text, Decode(Encode(text)));

    [Fact]
    public void StoriesThatItWasNotTrainedOnTakeFewTokens()
    {
        var stories = Stories.Split(File.ReadAllText(StorytellerFolder.Find("data/eval.txt"))).ToArray();
        Assert.InRange(stories.Sum(story => Encode(story).Count), 1, 1.65 * stories.Sum(story => story.Split(' ').Length));
    }

    [Fact]
    public void TheMostFrequentPairIsMergedFirstAndATieGoesToTheSmallerIds()
    {
        // a b: 3 times; then (space, ab) and (ab, c) twice each, and the space is a byte while ab is a later token.
        var trained = BytePairTrainer.Train(["abc abc abd"], 261);
        Assert.Equal([("a", "b"), ("Ġ", "ab"), ("ab", "c")], trained.Merges);
    }

    [Fact]
    public void TooSmallAVocabularyAndTooShortATextAreRefused()
    {
        Assert.Contains("258", Assert.Throws<NibbleException>(() => BytePairTrainer.Train(["abc"], 257)).Message, StringComparison.Ordinal);
        Assert.Contains("260 tokens", Assert.Throws<NibbleException>(() => BytePairTrainer.Train(["abc"], 300)).Message, StringComparison.Ordinal);
    }

    private static List<string> Encode(string text)
    {
        var tokens = new List<string>();
        foreach (Match word in BytePairTrainer.PreTokens().Matches(text))
        {
            var parts = Encoding.UTF8.GetBytes(word.Value).Select(value => BytePairTrainer.Alphabet[value].ToString()).ToList();
            while (parts.Zip(parts.Skip(1)).Index().Where(pair => Ranks.ContainsKey(pair.Item)).ToArray() is { Length: > 0 } pairs)
            {
                var (at, pair) = pairs.MinBy(candidate => Ranks[candidate.Item]);
                parts[at] = pair.First + pair.Second;
                parts.RemoveAt(at + 1);
            }

            tokens.AddRange(parts);
        }

        Assert.True(Vocabulary.IsSupersetOf(tokens));
        return tokens;
    }

    private static string Decode(List<string> tokens) =>
        Encoding.UTF8.GetString([.. string.Concat(tokens).Select(letter => (byte)BytePairTrainer.Alphabet.ToList().IndexOf(letter))]);

    private static BytePairTokenizer Load()
    {
        using var json = JsonDocument.Parse(File.ReadAllText(StorytellerFolder.Find("model/tokenizer.json")));
        var model = json.RootElement.GetProperty("model");
        return new BytePairTokenizer(
            [.. model.GetProperty("vocab").EnumerateObject().OrderBy(token => token.Value.GetInt32()).Select(token => token.Name)],
            [.. model.GetProperty("merges").EnumerateArray().Select(merge => merge.GetString()!.Split(' ')).Select(pair => (pair[0], pair[1]))]);
    }
}
