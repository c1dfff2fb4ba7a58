
namespace Nibble.Numerics.Kernels;

/// <summary>The operations on spans, implemented once per instruction set.</summary>
/// <remarks>
/// <para>Every result equals that of <see cref="ScalarKernel"/> bit for bit, for every length and every value.</para>
/// <para>Callers check the arguments: lengths match, scales are positive and finite, zero points are inside the code range, and
/// source and destination are the same memory or do not overlap.</para>
/// </remarks>
internal interface IQuantizationKernel
{
    /// <summary>The name used in <c>NIBBLE_KERNEL</c>.</summary>
    string Name { get; }

    /// <summary>The lowest and the highest finite value, and the number of values that are not finite.</summary>
    ValueStatistics Measure(ReadOnlySpan<float> values);

    /// <summary><see cref="ScalarQuantizer.Quantize"/> of each value.</summary>
    void Quantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<sbyte> destination);

    /// <summary><see cref="ScalarQuantizer.Dequantize"/> of each code.</summary>
    void Dequantize(ReadOnlySpan<sbyte> codes, QuantizationParameters parameters, Span<float> destination);

    /// <summary><see cref="ScalarQuantizer.FakeQuantize"/> of each value.</summary>
    void FakeQuantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<float> destination);

    /// <summary><see cref="TrainingGrid.FakeQuantize"/> of each value.</summary>
    void FakeQuantize(ReadOnlySpan<float> values, TrainingGrid grid, Span<float> destination);

    /// <summary><see cref="TrainingGrid.Backward"/> of each value, and the sums. <see cref="LaneSums"/> fixes the order of summation.</summary>
    /// <param name="values">The values that were fake-quantized.</param>
    /// <param name="gradients">The gradient of each output value.</param>
    /// <param name="grid">The grid.</param>
    /// <param name="destination">Receives the gradients of the values; may be <paramref name="gradients"/>. Empty if only the sums are needed.</param>
    GridGradient Backward(ReadOnlySpan<float> values, ReadOnlySpan<float> gradients, TrainingGrid grid, Span<float> destination);

    /// <summary>The summed squared error of fake quantization. <see cref="LaneSums"/> fixes the order of summation.</summary>
    double SquaredError(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes);

    /// <summary>The summed squared error of fake quantization, each square multiplied by the value's importance. <see cref="LaneSums"/> fixes the order of
    /// summation.</summary>
    /// <param name="values">The values.</param>
    /// <param name="importance">One weight per value, finite and not negative.</param>
    /// <param name="parameters">The scale and the zero point.</param>
    /// <param name="codes">The codes to use.</param>
    double WeightedSquaredError(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, QuantizationParameters parameters, CodeRange codes);

    /// <summary>Writes <c>code + 2^(bits-1)</c> as a dense stream, least significant bit first. The last byte is padded with zeros.</summary>
    void Pack(ReadOnlySpan<sbyte> codes, int bits, Span<byte> destination);

    /// <summary>Reads the output of <see cref="Pack"/>.</summary>
    void Unpack(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes);
}
