using System.CommandLine;
using Nibble.Onnx.Data;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Quantization;
using Nibble.Recipes;

namespace Nibble.Cli.Commands;

/// <summary>The options of <c>nibble quantize</c> for ONNX files.</summary>
internal sealed class OnnxQuantizeOptions
{
    private const string RandomData = "random";

    private readonly Option<string[]> data = CommonOptions.Data(
        $"ONNX only. What the model's inputs are in use: a folder of images, .npy, .npz, .jsonl, .wav, .txt or .tsv, or '{RandomData}', whose ranges are not "
        + "those of real data.", required: false);

    private readonly Option<string?> preprocess = new("--preprocess")
    {
        Description = $"ONNX only. How images become tensors: {string.Join(", ", ImagePreprocessing.PresetNames)}, with changes such as imagenet,size=32x32,bgr.",
    };

    private readonly Option<string?> tokenizer = new("--tokenizer") { Description = "ONNX only. Folder of the tokenizer for texts. Default: that of the model." };
    private readonly Option<string[]> shapes = new("--fix-shape") { Description = "ONNX only. Sizes of an input that the model leaves free, such as images=1x3x224x224." };
    private readonly Option<string[]> constants = new("--input") { Description = "ONNX only. An input that is always the same, such as sr=16000." };
    private readonly Option<string[]> states = new("--feedback")
    { Description = "ONNX only. An input that gets an output of the run before, such as state=stateN." };

    private readonly Option<OnnxMode> mode = Choice<OnnxMode>(
        "--mode", "ONNX only. static: weights and activations, with ranges from data. dynamic: activations are measured at every run. weights: weights alone. "
        + "auto: the fastest of them within --max-loss, or within an error of 10%. Default: auto.", OnnxMode.Auto);

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
    private readonly Option<int?> block = NumberOptions.AtLeast("--block-size", 16, "ONNX only. Weights per scale with --mode weights: 16, 32, 64 ... Default: 32.");
    private readonly Option<string[]> exclude = new("--exclude")
    {
        Description = "ONNX only. Nodes that stay float: a name, a glob, an operator, before:NODE or after:NODE. Repeat it for several.",
    };

    private readonly Option<string[]> only = new("--only") { Description = "ONNX only. The only nodes to quantize, written as in --exclude." };
    private readonly Option<double?> maxLoss = NumberOptions.Number(
        "--max-loss", value => value is > 0 and < 1, "above 0 and below 1",
        "ONNX only. Largest relative error of an output. The most sensitive nodes return to float until it holds. Default: no limit.");

    private readonly Option<int?> samples = NumberOptions.AtLeast("--samples", 1, "ONNX only. Samples to calibrate on at most. Default: 128.");
    private readonly Option<int?> batch = NumberOptions.AtLeast("--batch", 1, "ONNX only. Samples per run, where the model leaves that free. Default: 1.");
    private readonly Option<bool> saturation = new("--allow-saturation")
    { Description = "ONNX only. Write the file even if its answers differ on processors whose sums of products saturate." };

    public OnnxQuantizeOptions()
    {
        target.AcceptOnlyFromAmong("any", "x64-vnni", "arm64");
        ranges.AcceptOnlyFromAmong("minmax", "mse", "percentile", "entropy");
    }

    /// <summary>The HTML report.</summary>
    public Option<string?> Report { get; } = new("--report") { Description = "ONNX only. HTML report to write: outputs, the worst values inside, and every node." };

    /// <summary>All of them.</summary>
    public IReadOnlyList<Option> All =>
        [data, preprocess, tokenizer, shapes, constants, states, mode, target, ranges, bits, block, exclude, only, maxLoss, samples, batch, saturation, Report];

    /// <summary>Opens the data.</summary>
    /// <exception cref="UsageException">There is no data.</exception>
    /// <exception cref="NibbleException">The data or the model cannot be read, or do not fit.</exception>
    public ISampleSource OpenData(CommandHost host, ParseResult parsed, string model)
    {
        var paths = parsed.GetValue(data) is { Length: > 0 } given ? given : throw new UsageException(
            $"{data.Name} is missing: quantizing an ONNX model needs samples of its inputs, to measure ranges and to compare; give a folder or a file, or "
            + $"{data.Name} {RandomData} for a first look");
        using var session = OnnxRuntimeSession.Open(model, 1);
        var inputs = UsageException.Of(() => ShapeFix.Apply(GraphInputs.Of(session), Shapes(parsed)));
        var options = new SampleOptions
        {
            Images = parsed.GetValue(preprocess) is { } text ? UsageException.Of(() => ImagePreprocessing.Parse(text)) : null,
            TokenizerFolder = parsed.GetValue(tokenizer) ?? Path.GetDirectoryName(Path.GetFullPath(model)),
            Constants = UsageException.Of(() => ConstantInputs.Parse(parsed.GetValue(constants) ?? [], inputs)),
            States = States(parsed),
        };
        if (!paths.Contains(RandomData))
        {
            var source = SampleSource.Open(host.DataFiles(paths), inputs, options);
            return parsed.GetValue(batch) is > 1 and var size ? new BatchedSource(source, inputs, size) : source;
        }

        if (paths.Length > 1)
        {
            throw new UsageException($"{data.Name} {RandomData} cannot be combined with files");
        }

        host.Warn("random data: the ranges, and with them the errors below, are not those of real data");
        var drawn = inputs.Where(input => options.Constants.All(constant => constant.Name != input.Name) && options.States.All(state => state.Input != input.Name));
        return new RandomSource([.. drawn], parsed.GetValue(samples) ?? new OnnxQuantizationOptions().Samples, seed: 1, options.Constants);
    }

    /// <summary>How to quantize.</summary>
    public OnnxQuantizationOptions Read(CommandHost host, ParseResult parsed, ISampleSource source)
    {
        var defaults = new OnnxQuantizationOptions();
        var width = parsed.GetValue(bits) ?? defaults.Bits;
        if (parsed.GetValue(mode) != OnnxMode.Weights)
        {
            CommonOptions.RefuseWithoutEffect(parsed, $"it is for {mode.Name} weights", bits, block);
        }

        if (width is not (4 or 8))
        {
            throw new UsageException($"{bits.Name} is {width}, expected 4 or 8");
        }

        return defaults with
        {
            Mode = parsed.GetValue(mode),
            Target = parsed.GetValue(target) switch { "x64-vnni" => OnnxTarget.X64Vnni, "arm64" => OnnxTarget.Arm64, _ => OnnxTarget.Any },
            Ranges = Enum.Parse<ObserverKind>(parsed.GetValue(ranges)!, ignoreCase: true),
            Samples = parsed.GetValue(samples) ?? defaults.Samples,
            Exclude = parsed.GetValue(exclude) ?? [],
            Only = parsed.GetValue(only) ?? [],
            States = States(parsed),
            Shapes = Shapes(parsed).ToDictionary(shape => shape.Name, shape => shape.Sizes),
            MaxLoss = parsed.GetValue(maxLoss),
            Bits = width,
            BlockSize = parsed.GetValue(block) ?? defaults.BlockSize,
            AllowSaturation = parsed.GetValue(saturation),
            DataName = source.Description,
            Logger = new WarningLogger(host.Warn),
        };
    }

    private List<(string Input, string Output)> States(ParseResult parsed) =>
        UsageException.Of(() => (parsed.GetValue(states) ?? []).Select(StateFeedback.Parse).ToList());

    private List<ShapeFix> Shapes(ParseResult parsed) => UsageException.Of(() => (parsed.GetValue(shapes) ?? []).Select(ShapeFix.Parse).ToList());

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
