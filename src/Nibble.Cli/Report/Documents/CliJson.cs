using System.Text.Json.Serialization;
using Nibble.Cli.Engines;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Cli.Report.Documents;

/// <summary>What <c>eval --json</c> prints.</summary>
internal sealed record EvalDocument(
    string Schema, string Model, string Task, string Data, IReadOnlyDictionary<string, double> Metrics, double? Loss, int? Context, int Pieces,
    long Predictions, double? Divergence,
    double? Agreement)
{
    public const string CurrentSchema = "nibble.eval/2";
}

/// <summary>What <c>finetune --json</c> prints.</summary>
internal sealed record FinetuneDocument(
    string Schema, string Model, string Task, string Output, string Data, long Count, int Steps, double? FinalLoss, double Seconds)
{
    /// <summary>How well the trained model does, where data to score on were given.</summary>
    public IReadOnlyDictionary<string, double> Metrics { get; init; } = new Dictionary<string, double>();

    public const string CurrentSchema = "nibble.finetune/1";
}

/// <summary>What <c>ptq --json</c> and <c>qat --json</c> print.</summary>
internal sealed record QuantizeDocument(
    string Schema, string Model, string Recipe, string Method, string Output, int Layers, long Bytes, long FloatBytes, double Seconds, long PeakBytes,
    string? Calibration, double? FinalTrainingLoss)
{
    /// <summary>The layers that were quantized.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized { get; init; } = [];

    /// <summary>The layers that stay float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    /// <summary>What the user should know.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    public const string CurrentSchema = "nibble.quantize/1";
}

/// <summary>What <c>ptq --dry-run --json</c> prints.</summary>
internal sealed record EstimateDocument(string Schema, string Model, string Recipe, int Layers, double Seconds, long PeakBytes, long Bytes, long DiskBytes)
{
    /// <summary>The layers that will stay float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    /// <summary>What the user should know before the run.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    public const string CurrentSchema = "nibble.estimate/1";
}

/// <summary>What <c>generate --json</c> prints.</summary>
internal sealed record GenerateDocument(string Schema, string Model, string Prompt, string Text, string Engine)
{
    public const string CurrentSchema = "nibble.generate/1";
}

/// <summary>What <c>inspect --json</c> prints.</summary>
internal sealed record InspectDocument(
    string Schema, string Model, string Type, long Parameters, long LinearParameters, long Bytes, IReadOnlyList<InspectedLayer> Layers,
    IReadOnlyDictionary<string, long> SizeByWidth)
{
    public const string CurrentSchema = "nibble.inspect/1";
}

/// <summary>A linear layer as <c>inspect</c> sees it.</summary>
internal sealed record InspectedLayer(
    string Name, int Rows, int Columns, double Min, double Max, double Deviation, double LargestInDeviations, double OutlierShare)
{
    /// <summary>Its weights' scheme; null where they are float.</summary>
    public string? Weights { get; init; }

    /// <summary><c>ptq</c> or <c>qat</c>: how the weights came to their codes; null where they are float.</summary>
    public string? WeightMethod { get; init; }

    /// <summary>Its input's scheme; null where it stays float.</summary>
    public string? Input { get; init; }

    /// <summary><c>ptq</c> or <c>qat</c>: how the input came to its range; null where it has no fixed one.</summary>
    public string? InputMethod { get; init; }
}

/// <summary>What <c>sensitivity --json</c> prints.</summary>
/// <remarks>Context is null for texts, which windows then counts.</remarks>
internal sealed record SensitivityDocument(
    string Schema, string Model, string Task, string Data, int? Context, int Windows, IReadOnlyList<SensitivityEntry> Layers,
    IReadOnlyList<SensitivityCorrelation> Correlations)
{
    public const string CurrentSchema = "nibble.sensitivity/2";

    /// <summary>What was measured on, in words.</summary>
    public string HeldOut() => TaskText.Pieces(TaskConfig.TaskOf(Task)!.Value, Windows, Context);

    /// <summary>What losses are measured in.</summary>
    public LossUnit Unit() => LossUnit.Of(TaskConfig.TaskOf(Task));
}

/// <summary>What quantizing one layer alone does, losses and divergences in the task's unit: measured, and estimated where weights are quantized.</summary>
internal sealed record SensitivityEntry(
    string Layer, string Change, double Loss, double LossError, double Kl, double KlError, double? Fisher, double? HessianTrace);

/// <summary>Spearman's rank correlation of estimates with the measured divergence, over all layers.</summary>
internal sealed record SensitivityCorrelation(string Change, double Fisher, double HessianTrace);

/// <summary>What <c>mix --json</c> prints.</summary>
internal sealed record MixDocument(
    string Schema, string Model, string Task, string Data, string Budget, string Recipe, MixEntry Chosen,
    IReadOnlyList<MixEntry> Front, IReadOnlyList<MixEntry> Uniform, double Coverage)
{
    /// <summary>Ways to divide the layers between the methods, by rising loss; empty without <c>--qat-minutes</c>.</summary>
    public IReadOnlyList<MethodEntry> Methods { get; init; } = [];

    /// <summary>The layers that the recipe keeps float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    /// <summary>What the user should know of the recipe.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    public const string CurrentSchema = "nibble.mix/2";

    /// <summary>What losses are measured in.</summary>
    public LossUnit Unit() => LossUnit.Of(TaskConfig.TaskOf(Task));
}

/// <summary>A recipe that was predicted and measured.</summary>
internal sealed record MixEntry(
    string Recipe, double AverageBits, long Bytes, double Predicted, double Low, double High, double Loss, double LossError, double Kl);

/// <summary>A way to divide a model's layers between PTQ and QAT: which are trained, for how many steps, and the loss after the part of them that was
/// tried.</summary>
internal sealed record MethodEntry(string Trained, int Layers, int Steps, double StepSeconds, int TriedSteps, double Loss, double LossError);

/// <summary>What <c>export --json</c> prints.</summary>
internal sealed record ExportDocument(
    string Schema, string Model, string Format, string Output, long Bytes, IReadOnlyDictionary<string, int> Types, IReadOnlyList<string> Notes, double Seconds)
{
    /// <summary>The layers that are written as codes.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized { get; init; } = [];

    /// <summary>The layers that are written as floats, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    public const string CurrentSchema = "nibble.export/1";
}

/// <summary>What <c>import --json</c> prints.</summary>
internal sealed record ImportDocument(string Schema, string Model, string Format, string Output, int Layers, long Bytes, IReadOnlyList<string> Notes)
{
    /// <summary>The layers that have codes.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized { get; init; } = [];

    /// <summary>The layers that have none.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    public const string CurrentSchema = "nibble.import/1";
}

/// <summary>What <c>verify --json</c> prints.</summary>
internal sealed record VerifyDocument(
    string Schema,
    string Model,
    string Engine,
    string Data,
    string Verdict,
    double SimulatedPerplexity,
    double EnginePerplexity,
    double Kl,
    double LargestDifference,
    double Agreement,
    int GreedyTokens,
    int SameGreedyTokens,
    int Windows,
    long Tokens,
    IReadOnlyList<string> Notes,
    double OwnKl,
    double OwnLargestDifference,
    TieDifference? Ties)
{
    public const string CurrentSchema = "nibble.verify/1";

    /// <summary>What the engine's rounding explains; null in ONNX Runtime.</summary>
    public ExplainedDifference? Explained { get; init; }
}

/// <summary>What <c>quantize --json</c> prints.</summary>
internal sealed record GgufDocument(
    string Schema, string Output, long Bytes, long SourceBytes, IReadOnlyDictionary<string, int> Types, IReadOnlyList<string> Ragged,
    IReadOnlyList<string> Unweighted, double Seconds, long PeakBytes)
{
    /// <summary>Matrices that have another type than the mixture's.</summary>
    public IReadOnlyList<FallbackEntry> Fallbacks { get; init; } = [];

    /// <summary>Names of the tensors that are copied as they are, such as norms.</summary>
    public IReadOnlyList<string> Copied { get; init; } = [];

    /// <summary>Names of the matrices that have the type already, and keep their codes.</summary>
    public IReadOnlyList<string> Unchanged { get; init; } = [];

    /// <summary>Names of the matrices whose types have no use for the importance matrix.</summary>
    public IReadOnlyList<string> ImportanceIgnored { get; init; } = [];

    /// <summary>The same for people, a sentence each.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    public const string CurrentSchema = "nibble.gguf/1";
}

/// <summary>Matrices whose rows the blocks of the mixture's type do not divide: how many, and the first with its columns.</summary>
internal sealed record FallbackEntry(string Wanted, string Type, int Tensors, string Example, long Columns);

/// <summary>What <c>imatrix --json</c> prints.</summary>
internal sealed record ImatrixDocument(string Schema, string Model, string Data, string Output, int Matrices, int Windows, int Context, double Seconds)
{
    public const string CurrentSchema = "nibble.imatrix/1";
}

/// <summary>What any command prints with <c>--json</c> when it fails.</summary>
internal sealed record ErrorDocument(string Schema, string Error, int ExitCode, string Message)
{
    public const string CurrentSchema = "nibble.error/1";
}

/// <summary>How the documents are written.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n",
    Converters =
    [
        typeof(FiniteNumberConverter), typeof(CamelCaseConverter<Method>), typeof(CamelCaseConverter<Evidence>), typeof(CamelCaseConverter<Verdict>),
    ])]
[JsonSerializable(typeof(AdviceDocument))]
[JsonSerializable(typeof(CostDocument))]
[JsonSerializable(typeof(ErrorDocument))]
[JsonSerializable(typeof(EvalDocument))]
[JsonSerializable(typeof(FinetuneDocument))]
[JsonSerializable(typeof(QuantizeDocument))]
[JsonSerializable(typeof(EstimateDocument))]
[JsonSerializable(typeof(GenerateDocument))]
[JsonSerializable(typeof(InspectDocument))]
[JsonSerializable(typeof(InspectFileDocument))]
[JsonSerializable(typeof(SensitivityDocument))]
[JsonSerializable(typeof(MixDocument))]
[JsonSerializable(typeof(ExportDocument))]
[JsonSerializable(typeof(ImportDocument))]
[JsonSerializable(typeof(VerifyDocument))]
[JsonSerializable(typeof(VerifyEncoderDocument))]
[JsonSerializable(typeof(GgufDocument))]
[JsonSerializable(typeof(BenchDocument))]
[JsonSerializable(typeof(BenchEncoderDocument))]
[JsonSerializable(typeof(ImatrixDocument))]
internal sealed partial class CliJson : JsonSerializerContext;
