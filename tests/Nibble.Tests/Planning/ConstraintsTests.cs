using Nibble.Planning;

namespace Nibble.Tests.Planning;

public class ConstraintsTests
{
    public static TheoryData<string, object, bool, bool> Cases => new()
    {
        { "none", new Constraints(), true, true },
        { "time", new Constraints { Seconds = 60 }, true, false },
        { "little time", new Constraints { Seconds = 9 }, false, false },
        { "memory", new Constraints { MemoryBytes = 1999 }, true, false },
        { "little memory", new Constraints { MemoryBytes = 999 }, false, false },
        { "loss", new Constraints { Loss = 0.05 }, false, true },
        { "little loss", new Constraints { Loss = 0.01 }, false, false },
        { "nothing to train on", new Constraints { MayTrain = false }, true, false },
        { "no text", new Constraints { MayTrain = false, CalibrationTokens = 0 }, false, false },
        { "little text", new Constraints { CalibrationTokens = 100 }, true, true },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void EachExcludesWhatItShould(string name, object asked, bool ptq, bool qat)
    {
        var constraints = (Constraints)asked;
        Assert.True((constraints.Broken(Options.Ptq(0.1)).Count == 0) == ptq, name);
        Assert.True((constraints.Broken(Options.Qat(0.02)).Count == 0) == qat, name);
    }

    [Fact]
    public void WhatNeedsNoTextIsAllowedWithoutAny() =>
        Assert.Empty(new Constraints { MayTrain = false, CalibrationTokens = 0 }.Broken(Options.Ptq(0.1) with { NeedsData = false }));

    [Fact]
    public void AnEngineThatRefusesIsNamed() =>
        Assert.Contains("vllm cannot run it: odd columns",
            Assert.Single(new Constraints { Engine = Engine.Vllm }.Broken(Options.Ptq(0) with { EngineRefusal = "odd columns" })).Reason,
            StringComparison.Ordinal);

    [Fact]
    public void AnUnknownLossIsNotWithinALimit() =>
        Assert.NotEmpty(new Constraints { Loss = 1 }.Broken(Options.Ptq(double.NaN)));
}
