using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Samples;

public sealed class MnistTests
{
    [Fact]
    public void ProgramHasFewerThanSixtyLines() => Assert.InRange(File.ReadLines(Repository.At("samples", "mnist", "Program.cs")).Count(), 20, 59);
}

public sealed partial class MnistRealModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ProgramTrainsToEightFourAndTwoBits()
    {
        var data = SharedData.Require("mnist");
        var output = Console.Out;
        using var written = new StringWriter(CultureInfo.InvariantCulture);
        Console.SetOut(written);
        try
        {
            Assembly.Load("Mnist").EntryPoint!.Invoke(null, [(string[])[data, folder.Path, "6000"]]);
        }
        finally
        {
            Console.SetOut(output);
        }

        var accuracies = Percentage().Matches(written.ToString()).Select(match => double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)).ToList();
        Assert.Equal(4, accuracies.Count);
        Assert.All(accuracies, accuracy => Assert.InRange(accuracy, 75, 100));
        Assert.Equal(["INT2", "INT4", "INT8"], Directory.EnumerateDirectories(folder.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [GeneratedRegex(@"([\d.]+) ?%")]
    private static partial Regex Percentage();
}
