namespace Nibble.Onnx.Quantization.Proof;

/// <summary>How far a value of a quantized graph is from the float graph's.</summary>
/// <param name="Name">The value.</param>
/// <param name="Decibels">
/// The signal-to-noise ratio, <c>10 log10(sum x^2 / sum (x - y)^2)</c>. Infinite if nothing differs. Null if the value is not float.
/// </param>
/// <param name="Largest">The largest difference of two elements. Null if the value is not float.</param>
/// <param name="Agreement">
/// The share of rows whose largest element is at the same place, or for values that are not float, the share of equal elements. Null if rows have fewer
/// than two elements.
/// </param>
/// <param name="NonFinite">The number of elements that are finite in the float graph alone.</param>
public sealed record OutputDifference(string Name, double? Decibels, double? Largest, double? Agreement, long NonFinite)
{
    /// <summary>
    /// The relative error, <c>sqrt(sum (x - y)^2 / sum x^2)</c>; for values that are not float, the share of different elements. Null if neither is known.
    /// </summary>
    public double? RelativeError => NonFinite > 0 ? double.PositiveInfinity
        : Decibels is { } decibels ? Math.Pow(10, -decibels / 20)
        : 1 - Agreement;
}
