using System.Globalization;
using Nibble.Cli.Report.Documents;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Proof;

namespace Nibble.Cli.Report;

/// <summary>Words about quantized ONNX graphs that the text and the HTML report share.</summary>
internal static class OnnxQuantizeText
{
    /// <summary>The name of a mode.</summary>
    public static string Name(OnnxMode mode) => mode switch
    {
        OnnxMode.Static => "static INT8",
        OnnxMode.Dynamic => "dynamic INT8",
        _ => "quantized weights",
    };

    /// <summary>A ratio of speeds in words.</summary>
    /// <param name="ratio">How many times faster than float.</param>
    public static string Speed(double ratio) => Math.Round(ratio, 2) == 1 ? "as fast as float"
        : string.Create(CultureInfo.InvariantCulture, $"{(ratio > 1 ? ratio : 1 / ratio):F2} times {(ratio > 1 ? "faster" : "slower")} than float");

    /// <summary>A signal-to-noise ratio.</summary>
    public static string Decibels(OutputDifference difference) => difference.Decibels is not { } value ? Numbers.Missing
        : double.IsInfinity(value) ? "equal" : string.Create(CultureInfo.InvariantCulture, $"{value:F1} dB");

    /// <summary>What a transformation of the float graph did.</summary>
    public static string Groups(GraphTransformation transformation)
    {
        var (count, isEqualization) = (transformation.Groups.Count, transformation.Name == GraphTransformation.Equalization);
        var noun = isEqualization ? count == 1 ? "pair of layers" : "pairs of layers" : count == 1 ? "input of products" : "inputs of products";
        return string.Create(CultureInfo.InvariantCulture, $"{count} {noun} {(isEqualization ? "have equal ranges" : "lost outliers to weights")}");
    }

    /// <summary>What the model was calibrated and compared on.</summary>
    public static string Samples(OnnxQuantizeDocument document)
    {
        var compared = string.Create(CultureInfo.InvariantCulture, $"{document.ComparedSamples}");
        var noun = document.ComparedSamples == 1 ? "sample" : "samples";
        return document.CalibrationSamples == 0 ? $"Compared on {compared} {noun} of {document.Data}"
            : string.Create(CultureInfo.InvariantCulture, $"Calibrated on {document.CalibrationSamples} samples of {document.Data}, compared on {compared} ")
                + (document.IsHeldOut ? document.ComparedSamples == 1 ? "other" : "others" : "of the same");
    }
}
