using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Tests.Planning;

public class CandidateTests
{
    [Theory]
    [InlineData(null, 64, 256)]
    [InlineData(0L, 64, 256)]
    [InlineData(16_384L, 64, 256)]
    [InlineData(16_383L, 63, 256)]
    [InlineData(300L, 1, 256)]
    [InlineData(100L, 1, 100)]
    [InlineData(1L, 1, 2)]
    public void CalibrationIsCutToATextOfSomeTokens(long? tokens, int windows, int length)
    {
        var cut = new Candidate(Road.Ptq, RecipePresets.Parse("w4a16-g32-gptq")).Within(tokens);

        Assert.Equal((windows, length), (cut.Recipe.Ptq.Windows, cut.Recipe.Ptq.SequenceLength));
        Assert.Equal("ptq w4a16-g32-gptq", cut.Name);
    }
}
