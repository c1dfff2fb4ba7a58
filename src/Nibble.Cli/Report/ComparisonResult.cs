using System.Text.Json.Serialization;
using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>The measurements of one model, quantized by PTQ and QAT at several widths.</summary>
/// <remarks>Losses are in the unit of <see cref="Scale"/>, divergences in nats, sizes in bytes, times in seconds. A measurement that failed is NaN or
/// infinite.</remarks>
internal sealed record ComparisonResult
{
    /// <summary>When the comparison ended.</summary>
    public required DateTimeOffset Date { get; init; }

    /// <summary>The command that repeats the comparison, as a user would type it.</summary>
    public required string CommandLine { get; init; }

    /// <summary>The random seed.</summary>
    public required long Seed { get; init; }

    /// <summary>The model's task.</summary>
    [JsonConverter(typeof(TaskConverter))]
    public required ModelTask Task { get; init; }

    /// <summary>The scale that quality is measured on.</summary>
    public QualityScale Scale => Evaluation.Unit == QualityScale.OfQuestions.Pieces ? QualityScale.OfQuestions : QualityScale.Of(Task);

    /// <summary>How the float model was fine-tuned for its task; null if the checkpoint already had a head.</summary>
    public FineTuning? FineTuning { get; init; }

    /// <summary>The model that was quantized.</summary>
    public required ComparedModel Model { get; init; }

    /// <summary>The data that QAT trained on and PTQ calibrated on.</summary>
    public required TrainingData Training { get; init; }

    /// <summary>The data that every variant was scored on.</summary>
    public required EvaluationData Evaluation { get; init; }

    /// <summary>Training settings of the QAT runs and the float control; null if nothing was trained.</summary>
    public QatSettings? Qat { get; init; }

    /// <summary>The machine that the times were measured on.</summary>
    public required MachineInfo Machine { get; init; }

    /// <summary>The software that was measured.</summary>
    public required VersionInfo Versions { get; init; }

    /// <summary>The prompt that every variant continued; null for a model that generates no text.</summary>
    public required string? Prompt { get; init; }

    /// <summary>The original float model.</summary>
    public required Baseline Baseline { get; init; }

    /// <summary>The quantized variants, and the float control if something was trained.</summary>
    public required IReadOnlyList<ComparisonRun> Runs { get; init; }

    /// <summary>What happened to each layer, with warnings, from <see cref="RunSummary.Entries"/>. Each entry has the names of the runs that it applies
    /// to.</summary>
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
/// <param name="Name">Its name.</param>
/// <param name="Path">The folder it was read from.</param>
/// <param name="Family">Its architecture, such as <c>llama</c>.</param>
/// <param name="Parameters">The number of all parameters.</param>
/// <param name="QuantizedParameters">The number of parameters in layers that a recipe quantizes.</param>
/// <param name="Bytes">Its size on disk.</param>
internal sealed record ComparedModel(string Name, string Path, string Family, long Parameters, long QuantizedParameters, long Bytes);

/// <summary>How a float model was fine-tuned for its task.</summary>
/// <param name="Steps">Training steps.</param>
/// <param name="BatchSize">Texts per step.</param>
/// <param name="LearningRate">The peak learning rate.</param>
/// <param name="Seconds">Training time in seconds.</param>
internal sealed record FineTuning(int Steps, int BatchSize, double LearningRate, double Seconds);

/// <summary>Data to train on.</summary>
/// <param name="Name">The name of the data.</param>
/// <param name="Count">The amount of data.</param>
/// <param name="Unit">The unit of the amount: tokens, texts or pairs.</param>
internal sealed record TrainingData(string Name, long Count, string Unit);

/// <summary>Data to score a model on.</summary>
/// <param name="Name">The name of the data.</param>
/// <param name="Count">The number of windows, texts, pairs or questions scored.</param>
/// <param name="Unit">The unit: windows, texts, pairs or questions.</param>
/// <param name="Predictions">The number of tokens predicted, or of texts, pairs or questions answered.</param>
/// <param name="Context">Tokens per window; null unless windows are scored.</param>
internal sealed record EvaluationData(string Name, int Count, string Unit, long Predictions, int? Context);

/// <summary>The machine that ran the comparison.</summary>
/// <param name="Cpu">The processor's name.</param>
/// <param name="Cores">The number of cores.</param>
/// <param name="Os">The operating system.</param>
/// <param name="MemoryBytes">The machine's memory in bytes.</param>
internal sealed record MachineInfo(string Cpu, int Cores, string Os, long MemoryBytes);

/// <summary>Versions of the software.</summary>
/// <param name="Nibble">Nibble.</param>
/// <param name="Dotnet">The .NET runtime.</param>
/// <param name="TorchSharp">TorchSharp.</param>
/// <param name="Libtorch">The native library that TorchSharp uses.</param>
internal sealed record VersionInfo(string Nibble, string Dotnet, string TorchSharp, string Libtorch);

/// <summary>The measurements of the float model.</summary>
/// <param name="BitsPerWeight">Stored bits per weight, such as 32.</param>
/// <param name="Quality">The main metric on the evaluation data.</param>
/// <param name="Metrics">All metrics by name.</param>
/// <param name="Bytes">Its size on disk.</param>
/// <param name="Seconds">Scoring time in seconds.</param>
/// <param name="PeakBytes">Peak memory of the process while scoring.</param>
/// <param name="Sample">Its continuation of the prompt; null without a prompt.</param>
internal sealed record Baseline(
    double BitsPerWeight, double Quality, IReadOnlyDictionary<string, double> Metrics, long Bytes, double Seconds, long PeakBytes, string? Sample);

/// <summary>The measurements of one variant of the model.</summary>
internal sealed record ComparisonRun
{
    /// <summary>The name, such as <c>ptq w4a16-g32</c> or <c>float control</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The method; null for the control, which is a float model trained exactly like the QAT runs.</summary>
    [JsonConverter(typeof(FloatOrMethodConverter))]
    public required Method? Method { get; init; }

    /// <summary>The method as a word: <c>ptq</c>, <c>qat</c>, <c>hybrid</c> or <c>float</c>.</summary>
    [JsonIgnore]
    public string MethodWord => Method?.Word() ?? "float";

    /// <summary>The recipe's name, which PTQ, QAT and hybrid runs of one width share; null for the float control.</summary>
    public string? Recipe { get; init; }

    /// <summary>Bits per weight code; for float, the bits of the element type.</summary>
    public required int WeightBits { get; init; }

    /// <summary>Bits of the layers' inputs; for float inputs, the bits of the element type.</summary>
    public required int ActivationBits { get; init; }

    /// <summary>Stored bits per quantized weight, including its share of scales and zero points.</summary>
    public required double BitsPerWeight { get; init; }

    /// <summary>The main metric on the evaluation data.</summary>
    public required double Quality { get; init; }

    /// <summary>All metrics by name.</summary>
    public IReadOnlyDictionary<string, double> Metrics { get; init; } = new Dictionary<string, double>();

    /// <summary>The loss relative to the float model, in the unit of the comparison's scale; negative if the variant is better.</summary>
    public required double LossDifference { get; init; }

    /// <summary>The distance of its predictions from the float model's: KL(float || variant) in nats, the squared difference of values, or 1 minus the cosine
    /// of vectors.</summary>
    public required double Divergence { get; init; }

    /// <summary>The agreement of its answers with the float model's, 0 to 1: the share of equal answers, or the mean cosine of vectors; null for
    /// regression.</summary>
    public required double? Agreement { get; init; }

    /// <summary>Size on disk.</summary>
    public required long Bytes { get; init; }

    /// <summary>Seconds to make the variant: calibration and quantization, or training and conversion, without scoring.</summary>
    public required double Seconds { get; init; }

    /// <summary>Peak memory of the process while it was made.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>Its continuation of the prompt; null without a prompt.</summary>
    public string? Sample { get; init; }

    /// <summary>The loss of each training step; empty for PTQ.</summary>
    public IReadOnlyList<TrainingLoss> TrainingLosses { get; init; } = [];

    /// <summary>The error of each quantized layer relative to the original; empty for the float control.</summary>
    public IReadOnlyList<LayerError> LayerErrors { get; init; } = [];

    /// <summary>What happened to each layer.</summary>
    [JsonIgnore]
    public RunSummary Summary
    {
        get => new(Quantized, Kept, Warnings);
        init => (Quantized, Kept, Warnings) = value;
    }

    /// <summary>The layers that were quantized.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized { get; init; } = [];

    /// <summary>The layers that stay float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    /// <summary>Warnings about this variant.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>The weights of a few layers before and after quantization.</summary>
    public IReadOnlyList<WeightHistogram> WeightHistograms { get; init; } = [];
}

/// <summary>The loss of one training step.</summary>
/// <param name="Step">The step, counted from 1.</param>
/// <param name="Loss">The loss of its batch.</param>
internal sealed record TrainingLoss(int Step, double Loss);

/// <summary>The error of a quantized layer relative to the original.</summary>
/// <param name="Layer">The layer's name in the checkpoint.</param>
/// <param name="WeightError">||W - Q||^2 / ||W||^2, with the original float weights W and the dequantized weights Q.</param>
/// <param name="OutputSnr">Signal-to-noise ratio of the layer's output on calibration data, in dB; null if it was not measured.</param>
internal sealed record LayerError(string Layer, double WeightError, double? OutputSnr = null);

/// <summary>The weights of a layer before and after quantization.</summary>
/// <param name="Layer">The layer's name in the checkpoint.</param>
/// <param name="Edges">Edges of the bins in ascending order: one more than there are bins.</param>
/// <param name="Before">The number of original float weights in each bin.</param>
/// <param name="After">The number of dequantized weights in each bin.</param>
internal sealed record WeightHistogram(string Layer, IReadOnlyList<double> Edges, IReadOnlyList<long> Before, IReadOnlyList<long> After);
