using System.Reflection;
using Nibble.Files;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Artifacts;

/// <summary>How the input of a layer is quantized while the quantized model runs.</summary>
/// <param name="Scheme">Per token (dynamic, with parameters computed from each token) or per tensor.</param>
/// <param name="Static">Parameters fixed by calibration or training; null if dynamic.</param>
public sealed record ActivationQuantization(QuantizationScheme Scheme, QuantizationParameters? Static);

/// <summary>What a layer does to its input before it quantizes it.</summary>
public enum InputTransform
{
    /// <summary>No transform.</summary>
    None,

    /// <summary>Multiplies it by the orthogonal Hadamard matrix of its length (see <c>HadamardTransform</c> in Nibble.Torch). The columns of the stored weight
    /// are rotated in the same way.</summary>
    Hadamard,
}

/// <summary>A quantized layer: a linear layer, a convolution or an embedding.</summary>
/// <param name="Name">The module's name in the checkpoint, such as <c>model.layers.0.mlp.down_proj</c>.</param>
/// <param name="Weight">The weight, [out, in]. All axes after the first are merged into one.</param>
/// <param name="Input">How the layer's input is quantized; null if it stays in float.</param>
public sealed record QuantizedLayer(string Name, QuantizedTensor Weight, ActivationQuantization? Input)
{
    /// <summary>The transform applied to the input first. Other engines do not compute it, and reject an artifact that has such a layer.</summary>
    public InputTransform InputTransform { get; init; }

    /// <summary>The method that chose the weight's codes; null if <see cref="Provenance.Method"/> applies to all layers.</summary>
    public Method? WeightMethod { get; init; }

    /// <summary>The method that chose the input's fixed range; null if it has none, or if <see cref="Provenance.Method"/> applies to all layers.</summary>
    public Method? InputMethod { get; init; }

    /// <summary>The weight's shape if it has more than two axes, such as [out, in, height, width]; null if it is a matrix.</summary>
    public IReadOnlyList<int>? Shape { get; init; }

    /// <summary>What contradicts the layer's schemes, as the end of a message, such as <c>has codes outside its scheme</c>; null if nothing does.</summary>
    public string? FindFault()
    {
        var codes = Weight.Scheme.Codes;
        bool Outside(sbyte[] values) => values.AsSpan().IndexOfAnyExceptInRange((sbyte)codes.Min, (sbyte)codes.Max) >= 0;
        return Weight.Scheme.Granularity is PerToken ? "has weights per token"
            : Outside(Weight.Codes) ? "has codes outside its scheme"
            : Outside(Weight.ZeroPoints) ? "has zero points outside its scheme"
            : FindScaleFault(Weight.Scheme, Weight.Scales) ?? (Input is null ? null : FindInputFault(Input));
    }

    /// <summary>What is wrong with the scales of a scheme; null if nothing is.</summary>
    internal static string? FindScaleFault(QuantizationScheme scheme, float[] scales) =>
        Array.TrueForAll(scales, scale => QuantizationParameters.IsStorable(scale, scheme.ScalePrecision))
            ? null
            : $"has scales that are not positive {scheme.ScalePrecision} values";

    private static string? FindInputFault(ActivationQuantization input)
    {
        var (scheme, parameters) = (input.Scheme, input.Static);
        if (scheme is not { Granularity: PerToken or PerTensor, Format: not CodeFormat.Ternary } || scheme.Granularity is PerToken != parameters is null)
        {
            return "has an input that is neither per token and dynamic nor per tensor and static";
        }

        return parameters is not { } known ? null
            : FindScaleFault(scheme, [known.Scale])
            ?? ((scheme.Symmetric ? known.ZeroPoint == 0 : known.ZeroPoint >= scheme.Codes.Min && known.ZeroPoint <= scheme.Codes.Max) ? null
                : "has an input zero point outside its scheme");
    }
}

/// <summary>The fixed parameters of a block's keys: one scale and zero point for each key-value head and channel.</summary>
/// <param name="Name">The attention module's name in the checkpoint, such as <c>model.layers.0.self_attn</c>.</param>
/// <param name="Heads">Key-value heads.</param>
/// <param name="Scales">Scales, [key-value heads, head size] row by row.</param>
/// <param name="ZeroPoints">Zero points in the same order; empty for symmetric schemes.</param>
public sealed record KeyQuantization(string Name, int Heads, float[] Scales, sbyte[] ZeroPoints)
{
    /// <summary>Channels of a head.</summary>
    public int HeadSize => Scales.Length / Heads;
}

/// <summary>A tensor that stays in floating point.</summary>
/// <param name="Name">Its name in the checkpoint, such as <c>model.norm.weight</c>.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Values">Its values, already rounded to the precision of <paramref name="StoredAs"/>.</param>
/// <param name="StoredAs">The element type it is stored in: F32, F16 or BF16.</param>
public sealed record FloatTensor(string Name, IReadOnlyList<int> Shape, float[] Values, ElementType StoredAs);

/// <summary>The origin of a quantized model, stored in the artifact.</summary>
/// <param name="Version">The version of Nibble that made it.</param>
/// <param name="Method"><c>ptq</c>, <c>qat</c>, or <c>hybrid</c> if each layer has its own method.</param>
/// <param name="Seed">The seed of all randomness.</param>
/// <param name="SourceHashes">SHA-256 of its source files, by file name.</param>
/// <param name="Metrics">Measurements during the run, by name. They contain no times, so that equal runs write equal bytes.</param>
public sealed record Provenance(
    string Version,
    string Method,
    long Seed,
    IReadOnlyDictionary<string, string> SourceHashes,
    IReadOnlyDictionary<string, double> Metrics)
{
    /// <summary>The version of this library, as written into artifacts.</summary>
    internal static string ThisVersion { get; } =
        typeof(Provenance).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];

    /// <summary>A description of the calibration text; null if there was none.</summary>
    public string? Calibration { get; init; }
}

/// <summary>The common result of PTQ and QAT, which exporters, evaluators and reports use.</summary>
/// <param name="ConfigJson">The text of the checkpoint's <c>config.json</c>.</param>
/// <param name="Layers">The quantized layers, in the model's order.</param>
/// <param name="FloatTensors">All other tensors, in the model's order.</param>
/// <param name="Recipe">The recipe of the run.</param>
/// <param name="Provenance">The origin of the model.</param>
/// <param name="TokenizerFolder">The folder with the tokenizer's files, which are copied into the artifact; empty for a model that reads no text.</param>
public sealed record QuantizedModel(
    string ConfigJson,
    IReadOnlyList<QuantizedLayer> Layers,
    IReadOnlyList<FloatTensor> FloatTensors,
    Recipe Recipe,
    Provenance Provenance,
    string TokenizerFolder)
{
    /// <summary>Whether the input of any layer is quantized.</summary>
    public bool QuantizesInputs => Layers.Any(layer => layer.Input is not null);

    /// <summary>The summary of the run that made it; null if it was read from disk, where the summary is not stored.</summary>
    public RunSummary? Summary { get; init; }

    /// <summary>The fixed parameters of the keys, block by block; empty unless the recipe's <see cref="Recipe.KeyValueCache"/> has keys per channel.</summary>
    /// <remarks>The recipe holds all other settings of the cache.</remarks>
    public IReadOnlyList<KeyQuantization> StaticKeys { get; init; } = [];
}
