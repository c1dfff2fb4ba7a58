using System.CommandLine;
using Nibble.Onnx.Data;
using Nibble.Onnx.Quantization;
using Nibble.Recipes;

namespace Nibble.Cli.Commands;

/// <summary>The options of <c>nibble quantize</c> for ONNX files.</summary>
internal sealed class OnnxQuantizeOptions
{
    private const string Bias = "bias";
    private const string None = "none";

    /// <summary>What <c>--algorithms</c> accepts in static mode, in any combination.</summary>
    private static readonly string[] StaticAlgorithms = [Bias, GraphTransformation.Equalization, GraphTransformation.Smoothing];

    /// <summary>What it accepts for weights alone, one of them.</summary>
    private static readonly string[] WeightAlgorithms = ["rtn", "hqq", "gptq"];

    private readonly Option<OnnxMode> mode = Choice<OnnxMode>(
        "--mode", "ONNX only. static: weights and activations, with ranges from data. dynamic: activations are measured at every run. weights: weights alone. "
        + "auto: the fastest of them within --max-loss, or within an error of 15%.", OnnxMode.Auto);

    private readonly Option<string> target = new("--target")
    {
        Description = "ONNX only. Processors that the file is made for: any, x64-vnni or arm64. Default: any, whose sums of products never saturate.",
        DefaultValueFactory = _ => "any",
    };

    private readonly Option<string> ranges = new("--ranges")
    {
        Description = "ONNX only. How ranges of activations are chosen: minmax, mse, percentile or entropy.",
        DefaultValueFactory = _ => "mse",
    };

    private readonly Option<int?> bits = NumberOptions.Whole("--bits", 4, 8, "ONNX only. Bits of weights with --mode weights: 4 or 8. Default: 8.");
    private readonly Option<int?> block = NumberOptions.AtLeast(
        "--block-size", 16, "ONNX only. Weights per scale with --mode weights: 16, 32, 64 ... Default: 32.");
    private readonly Option<string> algorithms = new("--algorithms")
    {
        Description = "ONNX only. How values are corrected or chosen. Static: none, or several of bias (biases keep the means of channels), cle (scales move "
            + "between neighbouring layers) and smooth (SmoothQuant), comma-separated. With --mode weights: rtn (the nearest code), hqq, or gptq, which "
            + "calibrates. Default: bias; rtn.",
    };

    private readonly Option<string[]> exclude = new("--exclude")
    {
        Description = "ONNX only. Nodes that stay float: a name, a glob, an operator, before:NODE or after:NODE. Repeat it for several.",
    };

    private readonly Option<string[]> only = new("--only") { Description = "ONNX only. The only nodes to quantize, written as in --exclude." };
    private readonly Option<double?> maxLoss = NumberOptions.Number(
        "--max-loss", value => value is > 0 and < 1, "above 0 and below 1",
        "ONNX only. Largest relative error of an output. The most sensitive nodes return to float until it holds. Default: no limit in static mode, "
            + "0.15 in auto.");

    private readonly Option<bool> saturation = new("--allow-saturation")
    { Description = "ONNX only. Write the file even if its answers differ on processors whose sums of products saturate." };

    private readonly Option<double?> memory = NumberOptions.Number(
        "--memory", value => value > 0, "above 0",
        "ONNX only. Memory limit in megabytes. Where it matters, samples are read several times, with the same result. Default: no limit.");

    private readonly Option<long> seed = NumberOptions.Whole(
        "--seed", 1, "ONNX only. Random seed: chooses which samples are held back, and random data.");

    public OnnxQuantizeOptions()
    {
        target.AcceptOnlyFromAmong("any", "x64-vnni", "arm64");
        ranges.AcceptOnlyFromAmong("minmax", "mse", "percentile", "entropy");
    }

    /// <summary>The HTML report.</summary>
    public Option<string?> Report { get; } = new("--report")
    { Description = "ONNX only. HTML report to write: outputs, the worst values inside, and every node." };

    /// <summary>Whether only to say what would be done.</summary>
    public Option<bool> DryRun { get; } = new("--dry-run")
    { Description = "ONNX only. Write nothing. Say what would become of each node, and estimate the size of the file and the memory of the run." };

    /// <summary>All of them.</summary>
    public IReadOnlyList<Option> All =>
        [.. Data.All, mode, target, ranges, bits, block, algorithms, exclude, only, maxLoss, saturation, memory, seed, DryRun, Report];

    /// <summary>Those for the data.</summary>
    public OnnxDataOptions Data { get; } = new(
        CommonOptions.Data($"ONNX only. {OnnxDataOptions.Kinds}", required: false), "ONNX only.", "Samples to calibrate on at most. Default: 128.")
    {
        Missing = "quantizing an ONNX model needs samples of its inputs, to measure ranges and to compare",
        RandomWarning = "random data: the ranges, and with them the errors below, are not those of real data",
    };

    /// <summary>The random seed.</summary>
    public long Seed(ParseResult parsed) => parsed.GetValue(seed);

    /// <summary>How to quantize.</summary>
    public OnnxQuantizationOptions Read(CommandHost host, ParseResult parsed, ISampleSource source)
    {
        var defaults = new OnnxQuantizationOptions();
        var width = parsed.GetValue(bits) ?? defaults.Bits;
        if (parsed.GetValue(mode) != OnnxMode.Weights)
        {
            CommonOptions.RefuseWithoutEffect(parsed, $"it is for {mode.Name} weights", bits, block);
        }

        if (parsed.GetValue(mode) is OnnxMode.Dynamic or OnnxMode.Weights)
        {
            CommonOptions.RefuseWithoutEffect(parsed, $"it is for {mode.Name} static or auto", maxLoss, ranges);
        }

        var chosen = Algorithms(parsed);
        if (width is not (4 or 8))
        {
            throw new UsageException($"{bits.Name} is {width}, expected 4 or 8");
        }

        return Data.Run(parsed) with
        {
            Mode = parsed.GetValue(mode),
            Target = parsed.GetValue(target) switch { "x64-vnni" => OnnxTarget.X64Vnni, "arm64" => OnnxTarget.Arm64, _ => OnnxTarget.Any },
            Ranges = Enum.Parse<ObserverKind>(parsed.GetValue(ranges)!, ignoreCase: true),
            Samples = Data.Limit(parsed) ?? defaults.Samples,
            Exclude = parsed.GetValue(exclude) ?? [],
            Only = parsed.GetValue(only) ?? [],
            MaxLoss = parsed.GetValue(maxLoss),
            Bits = width,
            BlockSize = parsed.GetValue(block) ?? defaults.BlockSize,
            Rounding = chosen is ["hqq"] ? WeightRounding.Hqq : chosen is ["gptq"] ? WeightRounding.Gptq : WeightRounding.RoundToNearest,
            CorrectsBiases = chosen.Length == 0 || chosen.Contains(Bias),
            EqualizesLayers = chosen.Contains(GraphTransformation.Equalization),
            SmoothsActivations = chosen.Contains(GraphTransformation.Smoothing),
            AllowSaturation = parsed.GetValue(saturation),
            MemoryBytes = parsed.GetValue(memory) is { } megabytes ? (long)(megabytes * 1e6) : null,
            Seed = Seed(parsed),
            DataName = source.Description,
            Logger = new WarningLogger(host.Warn),
        };
    }

    /// <summary>The algorithms that are named, all for the mode. Empty if none is.</summary>
    private string[] Algorithms(ParseResult parsed)
    {
        if (parsed.GetValue(algorithms) is not { } text)
        {
            return [];
        }

        string[] names = text.Split(',');
        string[] known = [.. StaticAlgorithms, None, .. WeightAlgorithms];
        if (Array.Find(names, name => !known.Contains(name)) is { } unknown)
        {
            throw new UsageException($"{algorithms.Name}: '{unknown}' is not one of {string.Join(", ", known)}.{Suggestion.For(unknown, known)}");
        }

        if (names.GroupBy(name => name).FirstOrDefault(group => group.Count() > 1) is { Key: var twice })
        {
            throw new UsageException($"{algorithms.Name} names {twice} twice; name each algorithm once");
        }

        if (names.Length > 1 && Array.Find(names, name => !StaticAlgorithms.Contains(name)) is { } alone)
        {
            throw new UsageException($"{algorithms.Name} {alone} stands alone; only {string.Join(", ", StaticAlgorithms)} can be combined");
        }

        var isForWeights = WeightAlgorithms.Contains(names[0]);
        if (isForWeights != (parsed.GetValue(mode) == OnnxMode.Weights))
        {
            throw new UsageException(
                $"{algorithms.Name} {text} is {(isForWeights ? "for" : "not for")} {mode.Name} weights; "
                + (isForWeights ? $"add {mode.Name} weights" : "remove it"));
        }

        if (parsed.GetValue(mode) == OnnxMode.Dynamic)
        {
            CommonOptions.RefuseWithoutEffect(parsed, $"{text} is for {mode.Name} static or auto", algorithms);
        }

        return names;
    }

    private static Option<T> Choice<T>(string name, string description, T otherwise)
        where T : struct, Enum
    {
        var option = new Option<T>(name)
        {
            Description = description,
            DefaultValueFactory = _ => otherwise,
            CustomParser = result => Enum.Parse<T>(result.Tokens[0].Value, ignoreCase: true),
        };
        option.AcceptOnlyFromAmong([.. Enum.GetNames<T>().Select(value => value.ToLowerInvariant())]);
        return option;
    }
}
