using Microsoft.Extensions.Logging;
using Nibble.Recipes;

namespace Nibble.Onnx.Quantization;

/// <summary>How to quantize an ONNX graph.</summary>
public sealed record OnnxQuantizationOptions
{
    /// <summary>What is computed with integers. Default: the fastest mode whose loss is acceptable.</summary>
    public OnnxMode Mode { get; init; } = OnnxMode.Auto;

    /// <summary>The processors that the file is made for. Default: any.</summary>
    public OnnxTarget Target { get; init; }

    /// <summary>How the ranges of activations are chosen. Default: least squared error.</summary>
    public ObserverKind Ranges { get; init; } = ObserverKind.Mse;

    /// <summary>The largest number of samples to calibrate on, at least 1. Default: 128.</summary>
    public int Samples { get; init; } = 128;

    /// <summary>The largest number of other samples to compare on, at least 1. Default: 64.</summary>
    public int HeldOutSamples { get; init; } = 64;

    /// <summary>
    /// Nodes that stay float: names, globs with <c>*</c>, operators, <c>before:NODE</c> (all that the node depends on) or <c>after:NODE</c> (all that depends
    /// on the node).
    /// </summary>
    public IReadOnlyList<string> Exclude { get; init; } = [];

    /// <summary>The only nodes that are quantized, in the form of <see cref="Exclude"/>. Default: all.</summary>
    public IReadOnlyList<string> Only { get; init; } = [];

    /// <summary>
    /// The largest relative error of an output, <c>sqrt(sum (x - y)^2 / sum x^2)</c>, on calibration samples. The most sensitive nodes return to float until
    /// it holds. Null: no limit.
    /// </summary>
    public double? MaxLoss { get; init; }

    /// <summary>Inputs that get an output of the run before: the states of a model that runs over a sequence. They begin with zeros. Default: none.</summary>
    public IReadOnlyList<(string Input, string Output)> States { get; init; } = [];

    /// <summary>The sizes of inputs that the model leaves free, by input. Needed for states whose sizes the samples do not decide. Default: none.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<long>> Shapes { get; init; } = new Dictionary<string, IReadOnlyList<long>>();

    /// <summary>Bits of weights in the mode for weights alone: 4 or 8. Default: 8.</summary>
    public int Bits { get; init; } = 8;

    /// <summary>Weights that share a scale in the mode for weights alone: a power of two, at least 16. Default: 32.</summary>
    public int BlockSize { get; init; } = 32;

    /// <summary>How codes are chosen in the mode for weights alone: to the nearest code, by HQQ or by GPTQ. Default: nearest.</summary>
    public WeightRounding Rounding { get; init; }

    /// <summary>Whether biases are changed so that the mean of each channel is that of the float model. Static mode only. Default: yes.</summary>
    public bool CorrectsBiases { get; init; } = true;

    /// <summary>Decides which samples are held back. Default: 1, which holds back the last of each five.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>
    /// The most bytes that the process shall hold. Where it is reached otherwise, samples are read several times and fewer values are watched each time, with
    /// the same result. Default: no limit.
    /// </summary>
    public long? MemoryBytes { get; init; }

    /// <summary>
    /// Whether scales move between neighbouring layers before calibration, so that each channel has the same range in both (cross-layer equalization, Nagel et
    /// al. 2019). The float model computes the same. Static mode only. Default: no.
    /// </summary>
    public bool EqualizesLayers { get; init; }

    /// <summary>
    /// Whether outliers of channels behind a normalization move into the weights that read them before calibration (SmoothQuant, Xiao et al. 2022). The float
    /// model computes the same. Static mode only. Default: no.
    /// </summary>
    public bool SmoothsActivations { get; init; }

    /// <summary>How much of the outliers moves into the weights, from 0 (nothing) to 1 (all). Default: 0.5.</summary>
    public double SmoothingStrength { get; init; } = 0.5;

    /// <summary>Whether a file is written whose answers differ between processors because sums of products saturate. Default: no.</summary>
    public bool AllowSaturation { get; init; }

    /// <summary>The wall-clock time of the comparison of speeds. Default: 2 seconds.</summary>
    /// <remarks>
    /// Times of nodes also decide which of two sensitive nodes returns to float first (<see cref="MaxLoss"/>), and times differ between runs. With zero
    /// they decide nothing, and the same input gives the same bytes.
    /// </remarks>
    public TimeSpan TimingLimit { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>What the calibration data is, for the metadata of the file. Default: unnamed.</summary>
    public string DataName { get; init; } = "samples of the caller";

    /// <summary>Takes warnings. Default: none.</summary>
    public ILogger? Logger { get; init; }
}
