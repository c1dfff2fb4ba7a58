using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Quantization.Estimation;

namespace Nibble.Onnx.Quantization;

/// <summary>Holds samples back from calibration: every fifth, so that ordered data has all its kinds on both sides. The seed says which of five.</summary>
internal sealed class SampleSplit
{
    private const int Every = 5;

    private readonly IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples;
    private readonly OnnxQuantizationOptions options;
    private readonly int heldOut;

    /// <summary>Splits samples.</summary>
    /// <param name="samples">All samples. They are enumerated several times.</param>
    /// <param name="options">Limits the number on each side, and has the seed.</param>
    public SampleSplit(IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples, OnnxQuantizationOptions options)
    {
        (this.samples, this.options) = (samples, options);

        // The last of five with the default seed, 1.
        heldOut = (int)(((options.Seed % Every) + (2 * Every) - 2) % Every);
        IsHeldOut = samples.Skip(Every - 1).Any();
    }

    /// <summary>Whether there are enough samples to hold some back. Otherwise all are on both sides.</summary>
    public bool IsHeldOut { get; }

    /// <summary>The samples to calibrate on.</summary>
    public IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Calibration => Side(isHeldOut: false).Take(options.Samples);

    /// <summary>The samples to compare on.</summary>
    public IEnumerable<IReadOnlyCollection<NamedOnnxValue>> HeldOut => Side(isHeldOut: true).Take(options.HeldOutSamples);

    /// <summary>The samples that are read to have enough on both sides.</summary>
    public IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Read => samples.Take(
        IsHeldOut ? (int)Math.Min(int.MaxValue, Every * Math.Max((options.Samples / (Every - 1L)) + 1, options.HeldOutSamples)) : Every);

    private IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Side(bool isHeldOut)
    {
        var garbage = new GarbageLimit();
        foreach (var sample in !IsHeldOut ? samples : samples.Where((_, index) => index % Every == heldOut == isHeldOut))
        {
            yield return sample;
            garbage.Keep();
        }
    }
}
