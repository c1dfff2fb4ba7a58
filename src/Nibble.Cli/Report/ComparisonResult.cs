using System.Text.Json.Serialization;
using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>One model, quantized by PTQ and by QAT at several widths, and what was measured.</summary>
/// <remarks>Losses are in the unit of <see cref="Scale"/>, divergences in nats, sizes in bytes, times in seconds. A measurement that failed is NaN or
/// infinite.</remarks>
internal sealed record ComparisonResult
{
    /// <summary>When the comparison ended.</summary>
    public required DateTimeOffset Date { get; init; }

    /// <summary>The command that repeats the comparison, as it would be typed.</summary>
    public required string CommandLine { get; init; }

    /// <summary>The seed that drove everything random.</summary>
    public required long Seed { get; init; }

    /// <summary>What the model is for.</summary>
    public required ModelTask Task { get; init; }

    /// <summary>How well a variant does it is measured by this.</summary>
    public QualityScale Scale => QualityScale.Of(Task);

    /// <summary>How the float model was trained for its task first; null where it came trained.</summary>
    public FineTuning? FineTuning { get; init; }

    /// <summary>The model that was quantized.</summary>
    public required ComparedModel Model { get; init; }

    /// <summary>The data that QAT trained on and PTQ was calibrated with.</summary>
    public required TrainingData Training { get; init; }

    /// <summary>The data that every variant was scored on.</summary>
    public required EvaluationData Evaluation { get; init; }

    /// <summary>How the QAT runs and the float control trained; null when nothing was trained.</summary>
    public QatSettings? Qat { get; init; }

    /// <summary>Where the times were taken.</summary>
    public required MachineInfo Machine { get; init; }

    /// <summary>The software that was measured.</summary>
    public required VersionInfo Versions { get; init; }

    /// <summary>What every variant was asked to continue; null for a model that writes nothing.</summary>
    public required string? Prompt { get; init; }

    /// <summary>The model as it came.</summary>
    public required Baseline Baseline { get; init; }

    /// <summary>The quantized variants, and the float control where something was trained.</summary>
    public required IReadOnlyList<ComparisonRun> Runs { get; init; }

    /// <summary>What was done with the layers and what the user should know of it, as <see cref="RunSummary.Entries"/> says it, each with the names of the
    /// runs that it holds for.</summary>
    public IEnumerable<(string Heading, string Runs, string Text)> Summaries
    {
        get
        {
            var all = Runs.Count(run => run.Summary.Quantized.Count > 0);
            return Runs.SelectMany(run => run.Summary.Entries().Select(entry => (Entry: entry, run.Name)))
                .GroupBy(said => said.Entry, said => said.Name)
                .GroupBy(group => group.Key.Heading)
                .SelectMany(heading => heading.Select(group =>
                    (heading.Key, all > 1 && group.Count() == all ? "all quantized runs" : string.Join(", ", group), group.Key.Text)));
        }
    }
}

/// <summary>The model that was quantized.</summary>
/// <param name="Name">What to call it.</param>
/// <param name="Path">Where it was read.</param>
/// <param name="Family">Its architecture, such as <c>llama</c>.</param>
/// <param name="Parameters">All its parameters.</param>
/// <param name="QuantizedParameters">Those in layers that a recipe quantizes.</param>
/// <param name="Bytes">Its size on disk.</param>
internal sealed record ComparedModel(string Name, string Path, string Family, long Parameters, long QuantizedParameters, long Bytes);

/// <summary>How a float model was trained for its task.</summary>
/// <param name="Steps">Optimizer steps.</param>
/// <param name="BatchSize">Texts in a step.</param>
/// <param name="LearningRate">The peak learning rate.</param>
/// <param name="Seconds">What it took.</param>
internal sealed record FineTuning(int Steps, int BatchSize, double LearningRate, double Seconds);

/// <summary>Data to train on.</summary>
/// <param name="Name">What to call them.</param>
/// <param name="Count">How much there is of them.</param>
/// <param name="Unit">Of what: tokens, texts or pairs.</param>
internal sealed record TrainingData(string Name, long Count, string Unit);

/// <summary>Data to score a model on.</summary>
/// <param name="Name">What to call them.</param>
/// <param name="Count">Pieces that were scored apart from each other.</param>
/// <param name="Unit">What they are: windows of a text, texts or pairs.</param>
/// <param name="Predictions">Tokens that were predicted and counted, or pieces that were answered.</param>
/// <param name="Context">Tokens in a window; null where pieces have lengths of their own.</param>
internal sealed record EvaluationData(string Name, int Count, string Unit, long Predictions, int? Context);

/// <summary>The machine that ran the comparison.</summary>
/// <param name="Cpu">The processor's name.</param>
/// <param name="Cores">Cores it offered.</param>
/// <param name="Os">The operating system.</param>
/// <param name="MemoryBytes">Memory of the machine.</param>
internal sealed record MachineInfo(string Cpu, int Cores, string Os, long MemoryBytes);

/// <summary>Versions of what ran.</summary>
/// <param name="Nibble">Nibble itself.</param>
/// <param name="Dotnet">The .NET runtime.</param>
/// <param name="TorchSharp">TorchSharp.</param>
/// <param name="Libtorch">The native library under it.</param>
internal sealed record VersionInfo(string Nibble, string Dotnet, string TorchSharp, string Libtorch);

/// <summary>The float model, measured.</summary>
/// <param name="BitsPerWeight">Bits that it stores for a weight, such as 32.</param>
/// <param name="Quality">The measure that counts, on the evaluation data.</param>
/// <param name="Metrics">All measures by name.</param>
/// <param name="Bytes">Its size on disk.</param>
/// <param name="Seconds">What scoring it took.</param>
/// <param name="PeakBytes">The most memory the process held while scoring it.</param>
/// <param name="Sample">How it continued the prompt; null when it was not asked.</param>
internal sealed record Baseline(
    double BitsPerWeight, double Quality, IReadOnlyDictionary<string, double> Metrics, long Bytes, double Seconds, long PeakBytes, string? Sample);

/// <summary>One variant of the model, measured.</summary>
internal sealed record ComparisonRun
{
    /// <summary>What to call it, such as <c>ptq w4a16-g32</c> or <c>float control</c>.</summary>
    public required string Name { get; init; }

    /// <summary>What made it; null for the control, which is float and trained exactly as the QAT runs are.</summary>
    [JsonConverter(typeof(FloatOrMethodConverter))]
    public required Method? Method { get; init; }

    /// <summary>The same in a word: <c>ptq</c>, <c>qat</c>, <c>hybrid</c> or <c>float</c>.</summary>
    [JsonIgnore]
    public string MethodWord => Method?.ToString().ToLowerInvariant() ?? "float";

    /// <summary>The recipe's name, which PTQ, QAT and hybrid runs of one width share; null for the float control.</summary>
    public string? Recipe { get; init; }

    /// <summary>Bits of a weight's code (of its element type in float).</summary>
    public required int WeightBits { get; init; }

    /// <summary>Bits of the layers' inputs; those of their element type where they stay float.</summary>
    public required int ActivationBits { get; init; }

    /// <summary>Bits stored for a quantized weight, its share of scales and zero points included.</summary>
    public required double BitsPerWeight { get; init; }

    /// <summary>The measure that counts, on the evaluation data.</summary>
    public required double Quality { get; init; }

    /// <summary>All measures by name.</summary>
    public IReadOnlyDictionary<string, double> Metrics { get; init; } = new Dictionary<string, double>();

    /// <summary>What it loses to the float model, in the unit of the comparison's scale; negative where the variant is better.</summary>
    public required double LossDifference { get; init; }

    /// <summary>How far its predictions are from the float model's: KL(float || variant) in nats, the squared difference of numbers, or 1 less the cosine of
    /// vectors.</summary>
    public required double Divergence { get; init; }

    /// <summary>How alike its answers are to the float model's, 0 to 1: the share of equal ones, or the mean cosine of vectors; null where answers are
    /// numbers.</summary>
    public required double? Agreement { get; init; }

    /// <summary>Size on disk.</summary>
    public required long Bytes { get; init; }

    /// <summary>What making it took: calibrating and solving, or training and converting; scoring is not counted.</summary>
    public required double Seconds { get; init; }

    /// <summary>The most memory the process held while it was made.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>How it continued the prompt; null when it was not asked.</summary>
    public string? Sample { get; init; }

    /// <summary>The loss of each training step; empty for PTQ.</summary>
    [JsonIgnore]
    public IReadOnlyList<TrainingLoss> TrainingLosses { get; init; } = [];

    /// <summary>How far each quantized layer is from the original; empty for the float control.</summary>
    public IReadOnlyList<LayerError> LayerErrors { get; init; } = [];

    /// <summary>What was done with each layer.</summary>
    [JsonIgnore]
    public RunSummary Summary { get; init; } = RunSummary.Empty;

    /// <summary>The layers that were quantized.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized => Summary.Quantized;

    /// <summary>The layers that stay float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept => Summary.Kept;

    /// <summary>What the user should know of it.</summary>
    public IReadOnlyList<string> Warnings => Summary.Warnings;

    /// <summary>The weights of a few layers before and after.</summary>
    [JsonIgnore]
    public IReadOnlyList<WeightHistogram> WeightHistograms { get; init; } = [];
}

/// <summary>The loss of one training step.</summary>
/// <param name="Step">The step, counted from 1.</param>
/// <param name="Loss">The loss of its batch.</param>
internal sealed record TrainingLoss(int Step, double Loss);

/// <summary>How far a layer is from the original.</summary>
/// <param name="Layer">The layer's name in the checkpoint.</param>
/// <param name="WeightError">||W - Q||^2 / ||W||^2, where W are the original float weights and Q the dequantized ones.</param>
/// <param name="OutputSnr">Signal-to-noise ratio of the layer's output on calibration data, in dB; null where it was not measured.</param>
internal sealed record LayerError(string Layer, double WeightError, double? OutputSnr = null);

/// <summary>The weights of a layer before and after quantization.</summary>
/// <param name="Layer">The layer's name in the checkpoint.</param>
/// <param name="Edges">Ends of the bins, rising: one more than there are bins.</param>
/// <param name="Before">Original float weights in each bin.</param>
/// <param name="After">Dequantized weights in each bin.</param>
internal sealed record WeightHistogram(string Layer, IReadOnlyList<double> Edges, IReadOnlyList<long> Before, IReadOnlyList<long> After);
