using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Quantization;

/// <summary>Holds samples back from calibration: every fifth, so that ordered data has all its kinds on both sides.</summary>
internal sealed class SampleSplit
{
    private const int Every = 5;

    private readonly IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples;
    private readonly OnnxQuantizationOptions options;

    /// <summary>Splits samples.</summary>
    /// <param name="samples">All samples. They are enumerated several times.</param>
    /// <param name="options">Limits the number on each side.</param>
    public SampleSplit(IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples, OnnxQuantizationOptions options)
    {
        (this.samples, this.options) = (samples, options);
        IsHeldOut = samples.Skip(Every - 1).Any();
    }

    /// <summary>Whether there are enough samples to hold some back. Otherwise all are on both sides.</summary>
    public bool IsHeldOut { get; }

    /// <summary>The samples to calibrate on.</summary>
    public IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Calibration => Side(isHeldOut: false).Take(options.Samples);

    /// <summary>The samples to compare on.</summary>
    public IEnumerable<IReadOnlyCollection<NamedOnnxValue>> HeldOut => Side(isHeldOut: true).Take(options.HeldOutSamples);

    private IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Side(bool isHeldOut) =>
        !IsHeldOut ? samples : samples.Where((_, index) => index % Every == Every - 1 == isHeldOut);
}
