using System.Text.RegularExpressions;
using Nibble.Samples.Storyteller;

namespace Nibble.Tests.Samples;

public partial class StoryWriterTests
{
    private static readonly string[] Stories = Read(new StoryWriter(11).WriteMany(1000));

    [Fact]
    public void Same_seed_same_text()
    {
        Assert.Equal(new StoryWriter(7).WriteMany(50), new StoryWriter(7).WriteMany(50));
        Assert.NotEqual(new StoryWriter(7).WriteMany(50), new StoryWriter(8).WriteMany(50));
    }

    [Fact]
    public void The_committed_texts_are_what_the_writer_writes()
    {
        var train = File.ReadAllText(StorytellerFolder.Find("data/train.txt"));
        var evaluation = File.ReadAllText(StorytellerFolder.Find("data/eval.txt"));
        Assert.Equal(new StoryWriter(1).WriteMany(Read(train).Length), train);
        Assert.Equal(new StoryWriter(2).WriteMany(Read(evaluation).Length), evaluation);
    }

    [Fact]
    public void No_evaluation_story_stands_in_the_training_text()
    {
        var train = Read(File.ReadAllText(StorytellerFolder.Find("data/train.txt"))).ToHashSet(StringComparer.Ordinal);
        Assert.DoesNotContain(Read(File.ReadAllText(StorytellerFolder.Find("data/eval.txt"))), train.Contains);
    }

    [Fact]
    public void Stories_differ() => Assert.Equal(Stories.Length, Stories.Distinct(StringComparer.Ordinal).Count());

    [Fact]
    public void Stories_are_sixty_to_a_hundred_and_sixty_words() =>
        Assert.All(Stories, story => Assert.InRange(story.Split(' ').Length, 60, 160));

    [Fact]
    public void Only_letters_and_plain_punctuation_so_no_placeholder_stays() =>
        Assert.All(Stories, story => Assert.Matches("^[A-Za-z \"'.,!?]+$", story));

    [Fact]
    public void Spaces_are_single() => Assert.All(Stories, story => Assert.DoesNotContain("  ", story, StringComparison.Ordinal));

    [Fact]
    public void A_stands_before_consonants_and_an_before_vowels() => Assert.All(Stories, story =>
    {
        Assert.DoesNotMatch(@"\b[Aa] [aeiouAEIOU]", story);
        Assert.DoesNotMatch(@"\b[Aa]n [^aeiouAEIOU]", story);
    });

    [Fact]
    public void Quotation_marks_open_after_a_space_and_close_after_punctuation() =>
        Assert.All(Stories, story => Assert.DoesNotContain('"', Speech().Replace(story, "")));

    [Fact]
    public void Every_sentence_begins_with_a_capital_and_ends_with_a_mark() => Assert.All(Stories, story =>
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
    public void Every_shape_and_every_name_is_told()
    {
        var all = string.Join(' ', Stories);
        Assert.All(StoryWords.People, person => Assert.Contains(person.Name, all, StringComparison.Ordinal));
        Assert.All(StoryWords.Animals, animal => Assert.Contains(animal.Name, all, StringComparison.Ordinal));
        Assert.All(StoryWords.Things, thing => Assert.Contains(thing.Name, all, StringComparison.Ordinal));
    }

    [Fact]
    public void One_child_of_each_gender_at_most_so_that_pronouns_are_clear() => Assert.All(Stories, story =>
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
