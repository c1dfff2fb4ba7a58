using Nibble.Numerics.Kernels;
using System.Diagnostics;
using Nibble.Tests.Algorithms;
using Nibble.Tests.Formats.Gguf.Blocks;

namespace Nibble.Tests.Numerics.Kernels;

/// <summary>Runs the kernel tests again in processes with instruction sets switched off.</summary>
public class InstructionSetTests
{
    [Theory]
    [InlineData(typeof(KernelTests), "DOTNET_EnableAVX2", "0")]
    [InlineData(typeof(KernelTests), "DOTNET_EnableHWIntrinsic", "0")]
    [InlineData(typeof(TrainingGridTests), "DOTNET_EnableAVX2", "0")]
    [InlineData(typeof(TrainingGridTests), "DOTNET_EnableHWIntrinsic", "0")]
    [InlineData(typeof(GptqKernelTests), "DOTNET_EnableAVX2", "0")]
    [InlineData(typeof(GptqKernelTests), "DOTNET_EnableHWIntrinsic", "0")]
    [InlineData(typeof(GptqKernelTests), QuantizationKernels.Variable, "scalar")]
    [InlineData(typeof(GptqKernelTests), QuantizationKernels.Variable, "vector")]
    [InlineData(typeof(BlockCodecTests), "DOTNET_EnableAVX2", "0")]
    [InlineData(typeof(BlockCodecTests), "DOTNET_EnableHWIntrinsic", "0")]
    [InlineData(typeof(SearchSpecificationTests), "DOTNET_EnableAVX2", "0")]
    [InlineData(typeof(SearchSpecificationTests), "DOTNET_EnableHWIntrinsic", "0")]
    public async Task KernelsAgreeWithoutAnInstructionSet(Type tests, string variable, string value)
    {
        using var process = Start("-class", tests.FullName!, (variable, value));
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, output);
        Assert.Matches(@"Total: [1-9][0-9]*, Errors: 0, Failed: 0, Skipped: 0", output);
    }

    [Fact]
    public async Task AnUnsupportedKernelIsRefusedByName()
    {
        var name = $"{typeof(InstructionSetTests).FullName}.{nameof(ActiveIsTheKernelThatTheEnvironmentNames)}";
        using var process = Start("-method", name, ("DOTNET_EnableAVX2", "0"), (QuantizationKernels.Variable, "avx2"));
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.NotEqual(0, process.ExitCode);
        Assert.Contains("NIBBLE_KERNEL is \"avx2\", which this machine cannot run; it has vector, scalar", output, StringComparison.Ordinal);
    }

    [Fact]
    public void ActiveIsTheKernelThatTheEnvironmentNames()
    {
        var name = Environment.GetEnvironmentVariable(QuantizationKernels.Variable);
        Assert.Same(QuantizationKernels.Select(name), QuantizationKernels.Active);
    }

    private static Process Start(string filter, string name, params (string Variable, string Value)[] environment)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true };
        foreach (var argument in (string[])[typeof(InstructionSetTests).Assembly.Location, filter, name, "-noColor"])
        {
            start.ArgumentList.Add(argument);
        }

        foreach (var (variable, value) in environment)
        {
            start.Environment[variable] = value;
        }

        return Process.Start(start)!;
    }
}
