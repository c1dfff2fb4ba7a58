using System.CommandLine;
using System.CommandLine.Parsing;
using Nibble.Onnx.Data;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Quantization;

namespace Nibble.Cli.Commands;

/// <summary>The options that say what the inputs of an ONNX model are in use. Several commands share them.</summary>
internal sealed class OnnxDataOptions
{
    /// <summary>What the data can be, for the help text of the option that names it.</summary>
    public const string Kinds = $"What the model's inputs are in use: a folder of images, .npy, .npz, .jsonl, .wav, .txt or .tsv, or '{RandomData}', whose "
        + "ranges are not those of real data.";

    private const string RandomData = "random";

    private readonly Option<string[]> data;
    private readonly Option<string?> preprocess;
    private readonly Option<string?> tokenizer;
    private readonly Option<string[]> shapes;
    private readonly Option<string[]> constants;
    private readonly Option<string[]> states;
    private readonly Option<int?>? samples;
    private readonly Option<int?>? batch;

    /// <summary>Creates the options.</summary>
    /// <param name="data">The option that names the data.</param>
    /// <param name="only">When the others have an effect, as the first sentence of their help texts.</param>
    /// <param name="limit">
    /// The help text of the number of samples. Null if the command takes one sample, so that neither it nor the batch size is an option.
    /// </param>
    public OnnxDataOptions(Option<string[]> data, string only, string? limit = null)
    {
        this.data = data;
        preprocess = new("--preprocess")
        {
            Description =
                $"{only} How images become tensors: {string.Join(", ", ImagePreprocessing.PresetNames)}, with changes such as imagenet,size=32x32,bgr.",
        };
        tokenizer = new("--tokenizer") { Description = $"{only} Folder of the tokenizer for texts. Default: that of the model." };
        shapes = new("--fix-shape") { Description = $"{only} Sizes of an input that the model leaves free, such as images=1x3x224x224." };
        constants = new("--input") { Description = $"{only} An input that is always the same, such as sr=16000." };
        states = new("--feedback") { Description = $"{only} An input that gets an output of the run before, such as state=stateN." };
        if (limit is not null)
        {
            samples = NumberOptions.AtLeast("--samples", 1, $"{only} {limit}");
            batch = NumberOptions.AtLeast("--batch", 1, $"{only} Samples per run, where the model leaves that free. Default: 1.");
        }
    }

    /// <summary>Why the command needs data. Null if it takes random data instead, of one sample.</summary>
    public string? Missing { get; init; }

    /// <summary>What to warn of where random data is asked for. Null for nothing.</summary>
    public string? RandomWarning { get; init; }

    /// <summary>All of them.</summary>
    public IReadOnlyList<Option> All => [data, .. Own];

    /// <summary>Those besides the one that names the data.</summary>
    public IReadOnlyList<Option> Own =>
        [preprocess, tokenizer, shapes, constants, states, .. samples is null ? (Option[])[] : [samples], .. batch is null ? (Option[])[] : [batch]];

    /// <summary>Adds a usage error for each option that is given but has no effect.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="options">The options.</param>
    /// <param name="reason">Why they have no effect, as the rest of a sentence that begins with the option.</param>
    public static void Refuse(CommandResult result, IEnumerable<Option> options, string reason)
    {
        foreach (var option in options.Where(option => result.GetResult(option) is { Implicit: false }))
        {
            result.AddError($"{option.Name} {reason}; remove it.");
        }
    }

    /// <summary>The most samples; null if the option is not given.</summary>
    public int? Limit(ParseResult parsed) => samples is null ? null : parsed.GetValue(samples);

    /// <summary>The inputs that get an output of the run before.</summary>
    /// <exception cref="UsageException">One of them is not a pair of names.</exception>
    public IReadOnlyList<(string Input, string Output)> States(ParseResult parsed) =>
        UsageException.Of(() => (parsed.GetValue(states) ?? []).Select(StateFeedback.Parse).ToList());

    /// <summary>The sizes of inputs that the model leaves free, by name.</summary>
    /// <exception cref="UsageException">One of them is not a name with sizes.</exception>
    public IReadOnlyDictionary<string, IReadOnlyList<long>> Shapes(ParseResult parsed) => Fixes(parsed).ToDictionary(shape => shape.Name, shape => shape.Sizes);

    /// <summary>The part of the options of a run that the command line gives: the states, and the sizes of inputs.</summary>
    public OnnxQuantizationOptions Run(ParseResult parsed) => new() { States = States(parsed), Shapes = Shapes(parsed) };

    /// <summary>Opens the data.</summary>
    /// <param name="host">Takes warnings.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="model">The float ONNX file.</param>
    /// <param name="seed">The seed of random data.</param>
    /// <exception cref="UsageException">There is no data, and the command needs it.</exception>
    /// <exception cref="NibbleException">The data or the model cannot be read, or do not fit.</exception>
    public ISampleSource Open(CommandHost host, ParseResult parsed, string model, long seed = 1)
    {
        var paths = parsed.GetValue(data) is { Length: > 0 } given ? given
            : Missing is null ? [RandomData]
            : throw new UsageException($"{data.Name} is missing: {Missing}; give a folder or a file, or {data.Name} {RandomData} for a first look");
        using var session = OnnxRuntimeSession.Open(model, 1);
        var inputs = UsageException.Of(() => ShapeFix.Apply(GraphInputs.Of(session), Fixes(parsed)));
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
            return batch is not null && parsed.GetValue(batch) is > 1 and var size ? new BatchedSource(source, inputs, size) : source;
        }

        if (paths.Length > 1)
        {
            throw new UsageException($"{data.Name} {RandomData} cannot be combined with files");
        }

        if (RandomWarning is not null)
        {
            host.Warn(RandomWarning);
        }

        var drawn = inputs.Where(
            input => options.Constants.All(constant => constant.Name != input.Name) && options.States.All(state => state.Input != input.Name));
        var count = samples is null ? 1 : parsed.GetValue(samples) ?? new OnnxQuantizationOptions().Samples;
        return new RandomSource([.. drawn], count, seed, options.Constants);
    }

    private List<ShapeFix> Fixes(ParseResult parsed) => UsageException.Of(() => (parsed.GetValue(shapes) ?? []).Select(ShapeFix.Parse).ToList());
}
