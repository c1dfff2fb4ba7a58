using Nibble.Numerics.Kernels;

namespace Nibble.Tests.Numerics.Kernels;

public class QuantizationKernelsTests
{
    [Theory]
    [InlineData(null)]
    [InlineData("")]
    public void TheFastestIsTakenUnlessOneIsNamed(string? name) =>
        Assert.Same(QuantizationKernels.Available.First(), QuantizationKernels.Select(name));

    [Fact]
    public void ANamedKernelIsTaken() => Assert.IsType<ScalarKernel>(QuantizationKernels.Select("scalar"));

    [Theory]
    [InlineData("sse9")]
    [InlineData("AVX2")]
    public void AnUnknownNameSaysWhichAreKnown(string name)
    {
        var exception = Assert.Throws<NibbleException>(() => QuantizationKernels.Select(name));
        Assert.Contains($"NIBBLE_KERNEL is \"{name}\"", exception.Message, StringComparison.Ordinal);
        Assert.Contains("avx2, vector, scalar", exception.Message, StringComparison.Ordinal);
    }
}
