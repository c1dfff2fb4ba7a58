using System.Text.RegularExpressions;
using Nibble.Samples.Storyteller;

namespace Nibble.Tests.Samples;

public partial class StoryWriterTests
{
    private static readonly string[] Stories = Read(new StoryWriter(11).WriteMany(1000));

    [Fact]
    public void SameSeedSameText()
    {
        Assert.Equal(new StoryWriter(7).WriteMany(50), new StoryWriter(7).WriteMany(50));
        Assert.NotEqual(new StoryWriter(7).WriteMany(50), new StoryWriter(8).WriteMany(50));
    }

    [Fact]
    public void TheCommittedTextsAreWhatTheWriterWrites()
    {
        var train = File.ReadAllText(StorytellerFolder.Find("data/train.txt"));
        var evaluation = File.ReadAllText(StorytellerFolder.Find("data/eval.txt"));
        Assert.Equal(new StoryWriter(1).WriteMany(Read(train).Length), train);
        Assert.Equal(new StoryWriter(2).WriteMany(Read(evaluation).Length), evaluation);
    }

    [Fact]
    public void NoEvaluationStoryStandsInTheTrainingText()
    {
        var train = Read(File.ReadAllText(StorytellerFolder.Find("data/train.txt"))).ToHashSet(StringComparer.Ordinal);
        Assert.DoesNotContain(Read(File.ReadAllText(StorytellerFolder.Find("data/eval.txt"))), train.Contains);
    }

    [Fact]
    public void StoriesDiffer() => Assert.Equal(Stories.Length, Stories.Distinct(StringComparer.Ordinal).Count());

    [Fact]
    public void StoriesAreSixtyToAHundredAndSixtyWords() =>
        Assert.All(Stories, story => Assert.InRange(story.Split(' ').Length, 60, 160));

    [Fact]
    public void OnlyLettersAndPlainPunctuationSoNoPlaceholderStays() =>
        Assert.All(Stories, story => Assert.Matches("^[A-Za-z \"'.,!?]+$", story));

    [Fact]
    public void SpacesAreSingle() => Assert.All(Stories, story => Assert.DoesNotContain("  ", story, StringComparison.Ordinal));

    [Fact]
    public void AStandsBeforeConsonantsAndAnBeforeVowels() => Assert.All(Stories, story =>
    {
        Assert.DoesNotMatch(@"\b[Aa] [aeiouAEIOU]", story);
        Assert.DoesNotMatch(@"\b[Aa]n [^aeiouAEIOU]", story);
    });

    [Fact]
    public void QuotationMarksOpenAfterASpaceAndCloseAfterPunctuation() =>
        Assert.All(Stories, story => Assert.DoesNotContain('"', Speech().Replace(story, "")));

    [Fact]
    public void EverySentenceBeginsWithACapitalAndEndsWithAMark() => Assert.All(Stories, story =>
    {
        Assert.Matches("^\"?[A-Z]", story);
        Assert.Matches("[.!?]\"?$", story);
        Assert.DoesNotMatch(@"\. ""?[a-z]", story);
        Assert.DoesNotMatch(@"\."" [a-z]", story);
        Assert.DoesNotMatch(@"[.!?,]{2}", story);
        // After ! and ? inside a sentence only the speaker may follow in lower case.
        Assert.DoesNotMatch(@"[!?] [a-z]", story);
        Assert.DoesNotMatch(@"[!?]"" (?!(she|he|they|his|her|said|asked|cried|called|the boy|the girl) )[a-z]", story);
    });

    [Fact]
    public void EveryShapeAndEveryNameIsTold()
    {
        var all = string.Join(' ', Stories);
        Assert.All(StoryWords.People, person => Assert.Contains(person.Name, all, StringComparison.Ordinal));
        Assert.All(StoryWords.Animals, animal => Assert.Contains(animal.Name, all, StringComparison.Ordinal));
        Assert.All(StoryWords.Things, thing => Assert.Contains(thing.Name, all, StringComparison.Ordinal));
    }

    [Fact]
    public void OneChildOfEachGenderAtMostSoThatPronounsAreClear() => Assert.All(Stories, story =>
    {
        var words = story.Split([' ', '.', ',', '!', '?', '"', '\'']).ToHashSet(StringComparer.Ordinal);
        var named = StoryWords.People.Where(person => words.Contains(person.Name)).ToArray();
        Assert.InRange(named.Count(person => person.IsGirl), 0, 1);
        Assert.InRange(named.Count(person => !person.IsGirl), 0, 1);
    });

    private static string[] Read(string text) =>
        text.Split(StoryWriter.Separator, StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    [GeneratedRegex("(?<=^| )\"[A-Z][^\"]*[.,!?]\"(?= |$)")]
    private static partial Regex Speech();
}
