using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Tests.Planning;

/// <summary>Options that a probe could have made.</summary>
internal static class Options
{
    public static PlannedOption Ptq(double loss, int bits = 4) => Option(Method.Ptq, loss, loss, bits);

    /// <summary>An option that trains; <paramref name="control"/> is what training alone does to the loss.</summary>
    public static PlannedOption Qat(double loss, int bits = 4, double control = 0, double half = 0.005) =>
        Option(Method.Qat, loss, loss - Math.Min(0, control), bits, half) with { Steps = 300, Seconds = 120, PeakBytes = 2000 };

    private static PlannedOption Option(Method method, double loss, double quantization, int bits, double half = 0.005) => new()
    {
        Name = $"{method} {bits}",
        Method = method,
        Recipe = RecipePresets.Parse($"w{bits}a16-g32"),
        Bits = bits,
        Loss = Estimate.Around(loss, half),
        Quantization = Estimate.Around(quantization, half),
        Evidence = Evidence.Measured,
        Seconds = 10,
        PeakBytes = 1000,
        Bytes = 100 * bits,
        Tokens = 16_384,
        NeedsData = true,
        Command = "nibble",
    };
}
