using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Tests.Planning;

public class CandidateTests
{
    [Theory]
    [InlineData(null, 4096, 64, 256)]
    [InlineData(0L, 4096, 64, 256)]
    [InlineData(16_384L, 4096, 64, 256)]
    [InlineData(16_383L, 4096, 63, 256)]
    [InlineData(300L, 4096, 1, 256)]
    [InlineData(100L, 4096, 1, 100)]
    [InlineData(1L, 4096, 1, 2)]
    [InlineData(100L, 64, 1, 64)]
    [InlineData(200L, 64, 3, 64)]
    [InlineData(9999L, 64, 64, 64)]
    public void CalibrationIsCutToATextOfSomeTokens(long? tokens, int longest, int windows, int length)
    {
        var cut = new Candidate(Method.Ptq, RecipePresets.Parse("w4a16-g32-gptq")).Within(tokens, longest);

        Assert.Equal((windows, length), (cut.Recipe.Ptq.Windows, cut.Recipe.Ptq.SequenceLength));
        Assert.Equal("ptq w4a16-g32-gptq", cut.Name);
    }
}
