using Nibble.Samples.Storyteller;

namespace Nibble.Tests.Samples;

public class StoriesTests
{
    [Fact]
    public void StoriesComeBackFromTheirFile()
    {
        string[] stories = ["One day, a cat ran.\n\"Stop!\" said Tom.", "The end."];
        Assert.Equal(stories, Stories.Split(Stories.Join(stories)));
    }

    [Fact]
    public void OnlyTheEndOfAStoryIsABlankLine() =>
        Assert.Equal(["One.\nTwo.\nThree.", "Four."], Stories.Split("One. \r\n\r\n Two.\n\n\nThree.\n<|endoftext|>\n\n<|endoftext|>\nFour.\n\n"));

    [Fact]
    public void AMissingFileAndAFileWithoutStoriesAreRefused()
    {
        var path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        Assert.Contains("no such text file", Assert.Throws<NibbleException>(() => Stories.Read([new FileInfo(path)])).Message, StringComparison.Ordinal);
        try
        {
            File.WriteAllText(path, "\n<|endoftext|>\n");
            Assert.Contains("no story", Assert.Throws<NibbleException>(() => Stories.Read([new FileInfo(path)])).Message, StringComparison.Ordinal);
            File.WriteAllBytes(path, [0x61, 0xFF]);
            Assert.Contains("UTF-8", Assert.Throws<NibbleException>(() => Stories.Read([new FileInfo(path)])).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void NoEvaluationStoryStandsInTheTrainingText()
    {
        var train = Stories.Split(File.ReadAllText(StorytellerFolder.Find("data/train.txt"))).ToHashSet(StringComparer.Ordinal);
        Assert.DoesNotContain(Stories.Split(File.ReadAllText(StorytellerFolder.Find("data/eval.txt"))), train.Contains);
    }
}
