using Nibble.Cli.Tests.Commands;
using Nibble.Samples.Storyteller;
using Nibble.Torch.Models;

namespace Nibble.Cli.Tests.Samples;

public class StoryGeneratorTests
{
    [Fact]
    public void TheSameSeedGivesTheSameStoriesAndNoStoryTwice()
    {
        using var folder = new TinyFolder();

        // Random weights seldom draw one certain token, so there are 30 that end a story.
        File.WriteAllText(Path.Combine(folder.Model, "generation_config.json"), $$"""{ "eos_token_id": [{{string.Join(", ", Enumerable.Range(40, 30))}}] }""");
        using var model = LoadedModel.Open(folder.Model);
        var stories = Write(1);
        Assert.Equal(40, stories.Distinct(StringComparer.Ordinal).Count());
        Assert.DoesNotContain(stories, string.IsNullOrWhiteSpace);
        Assert.DoesNotContain(stories, story => story.Contains(Stories.End, StringComparison.Ordinal));
        Assert.Equal(stories, Write(1));
        Assert.NotEqual(stories, Write(2));

        List<string> Write(int seed) => new StoryGenerator(model, seed, 64).Write(40, _ => { });
    }

    [Fact]
    public void AModelThatEndsNoStoryIsRefused()
    {
        using var folder = new TinyFolder();
        using var model = LoadedModel.Open(folder.Model);
        var fault = Assert.Throws<NibbleException>(() => new StoryGenerator(model, 1, 64).Write(1, _ => { }));
        Assert.Contains("0 of 64 sampled stories", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void StoriesLongerThanTheContextAreRefused()
    {
        using var folder = new TinyFolder();
        using var model = LoadedModel.Open(folder.Model);
        Assert.Contains(
            "context", Assert.Throws<NibbleException>(() => new StoryGenerator(model, 1, 65).Write(1, _ => { })).Message, StringComparison.Ordinal);
    }
}
