using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Samples;

public sealed partial class MatrixSampleTests
{
    /// <summary>GPTQ is better at every width, and the error doubles at least with each bit less.</summary>
    [Fact]
    public async Task GptqLosesLessThanRounding()
    {
        var built = new DirectoryInfo(AppContext.BaseDirectory);
        var program = Path.Combine(Repository.Root!, "samples", "matrix", "bin", built.Parent!.Name, built.Name, "MatrixSample.dll");
        using var process = Process.Start(new ProcessStartInfo("dotnet", [program]) { RedirectStandardOutput = true })!;
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);

        Assert.Equal(0, process.ExitCode);
        var errors = Error().Matches(output).Select(match => double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)).ToArray();
        Assert.Equal(8, errors.Length);
        for (var i = 0; i < errors.Length; i += 2)
        {
            Assert.InRange(errors[i + 1], 0, errors[i] * 0.9);
            Assert.True(i == 0 || errors[i] > 1.9 * errors[i - 2]);
        }
    }

    [GeneratedRegex(@"([\d.]+) ?%")]
    private static partial Regex Error();
}
