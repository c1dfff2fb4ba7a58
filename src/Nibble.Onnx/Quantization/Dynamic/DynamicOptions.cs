using Nibble.Recipes;

namespace Nibble.Onnx.Quantization.Dynamic;

/// <summary>Options of <see cref="DynamicQuantizer"/>.</summary>
internal sealed record DynamicOptions
{
    /// <summary>
    /// Whether scales of output channels are raised where sums would saturate on processors without VNNI (<see cref="SaturationGuard"/>). Default: true.
    /// </summary>
    public bool GuardSaturation { get; init; } = true;

    /// <summary>How the range of the weights of an output channel is chosen. Default: the range with the least squared error.</summary>
    public WeightRange Range { get; init; } = WeightRange.Mse;
}
