using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

[Collection(OneAtATime.Name)]
public sealed class CommandRealModelTests
{
    [Fact]
    public async Task EvalOfStories260KGivesTheReferenceSPerplexity()
    {
        var run = await CommandRun.Succeeds(
            "eval", SharedData.Require("stories260K"), "--data", SharedData.Require("tinystories/valid.txt"), "--windows", "20", "--json");

        Assert.Equal(3.788, run.Perplexity, 0.0006);
        Assert.Equal(5100, run.Json.GetProperty("predictions").GetInt64());
    }
}
