using System.Text.Json.Serialization;
using Nibble.Cli.Engines;
using Nibble.Models;
using Nibble.Onnx.Quantization;
using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>eval --json</c>.</summary>
internal sealed record EvalDocument(
    string Schema, string Model, string Task, string Data, IReadOnlyDictionary<string, double> Metrics, double? Loss, int? Context, int Pieces,
    long Predictions, double? Divergence,
    double? Agreement)
{
    public const string CurrentSchema = "nibble.eval/2";
}

/// <summary>The document of <c>eval --tasks --json</c>.</summary>
internal sealed record EvalTasksDocument(string Schema, string Model, string Engine, string? Reference, int Shots, IReadOnlyList<EvaluatedTask> Tasks)
{
    public const string CurrentSchema = "nibble.eval-tasks/1";
}

/// <summary>The scores on a task file.</summary>
internal sealed record EvaluatedTask(
    string Task, string Layout, int Questions, int Truncated, IReadOnlyList<EvaluatedMetric> Metrics, double? Agreement);

/// <summary>A metric with its standard error, that of the reference, and the difference of both on the same questions.</summary>
internal sealed record EvaluatedMetric(
    string Name, double Value, double? Error, double? Reference, double? ReferenceError, double? Difference, double? DifferenceError);

/// <summary>The document of <c>finetune --json</c>.</summary>
internal sealed record FinetuneDocument(
    string Schema, string Model, string Task, string Output, string Data, long Count, int Steps, double? FinalLoss, double Seconds)
{
    /// <summary>The scores of the trained model; empty without evaluation data.</summary>
    public IReadOnlyDictionary<string, double> Metrics { get; init; } = new Dictionary<string, double>();

    public const string CurrentSchema = "nibble.finetune/1";
}

/// <summary>The document of <c>ptq --json</c> and <c>qat --json</c>.</summary>
internal sealed record QuantizeDocument(
    string Schema, string Model, string Recipe, string Method, string Output, int Layers, long Bytes, long FloatBytes, double Seconds, long PeakBytes,
    string? Calibration, double? FinalTrainingLoss)
{
    /// <summary>The layers that were quantized.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized { get; init; } = [];

    /// <summary>The layers that stay float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    /// <summary>Warnings.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    public const string CurrentSchema = "nibble.quantize/1";
}

/// <summary>The document of <c>ptq --dry-run --json</c>.</summary>
internal sealed record EstimateDocument(string Schema, string Model, string Recipe, int Layers, double Seconds, long PeakBytes, long Bytes, long DiskBytes)
{
    /// <summary>The layers that will stay float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    /// <summary>Warnings before the run.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    public const string CurrentSchema = "nibble.estimate/1";
}

/// <summary>The document of <c>generate --json</c>.</summary>
internal sealed record GenerateDocument(string Schema, string Model, string Prompt, string Text, string Engine)
{
    public const string CurrentSchema = "nibble.generate/1";
}

/// <summary>The document of <c>inspect --json</c>.</summary>
internal sealed record InspectDocument(
    string Schema, string Model, string Type, long Parameters, long LinearParameters, long Bytes, IReadOnlyList<InspectedLayer> Layers,
    IReadOnlyDictionary<string, long> SizeByWidth)
{
    public const string CurrentSchema = "nibble.inspect/1";
}

/// <summary>A linear layer in <c>inspect</c>.</summary>
internal sealed record InspectedLayer(
    string Name, int Rows, int Columns, double Min, double Max, double Deviation, double LargestInDeviations, double OutlierShare)
{
    /// <summary>The scheme of its weights; null for float.</summary>
    public string? Weights { get; init; }

    /// <summary>The method that produced the codes of its weights, <c>ptq</c> or <c>qat</c>; null for float.</summary>
    public string? WeightMethod { get; init; }

    /// <summary>The scheme of its input; null for float.</summary>
    public string? Input { get; init; }

    /// <summary>The method that produced the range of its input, <c>ptq</c> or <c>qat</c>; null without a static range.</summary>
    public string? InputMethod { get; init; }
}

/// <summary>The document of <c>sensitivity --json</c>.</summary>
/// <remarks>For texts, Context is null and Windows counts texts.</remarks>
internal sealed record SensitivityDocument(
    string Schema, string Model, string Task, string Data, int? Context, int Windows, IReadOnlyList<SensitivityEntry> Layers,
    IReadOnlyList<SensitivityCorrelation> Correlations)
{
    public const string CurrentSchema = "nibble.sensitivity/2";

    /// <summary>The held-out data, in words.</summary>
    public string HeldOut() => TaskText.Pieces(TaskConfig.TaskOf(Task)!.Value, Windows, Context);

    /// <summary>The unit of losses.</summary>
    public LossUnit Unit() => LossUnit.Of(TaskConfig.TaskOf(Task));
}

/// <summary>The effect of quantizing only one layer, in the task's unit: measured, and for weights also estimated.</summary>
internal sealed record SensitivityEntry(
    string Layer, string Change, double Loss, double LossError, double Kl, double KlError, double? Fisher, double? HessianTrace);

/// <summary>Spearman's rank correlation of the estimates with the measured divergence, over all layers.</summary>
internal sealed record SensitivityCorrelation(string Change, double Fisher, double HessianTrace);

/// <summary>The document of <c>mix --json</c>.</summary>
internal sealed record MixDocument(
    string Schema, string Model, string Task, string Data, string Budget, string Recipe, MixEntry Chosen,
    IReadOnlyList<MixEntry> Front, IReadOnlyList<MixEntry> Uniform, double Coverage)
{
    /// <summary>Ways to divide the layers between the methods, by ascending loss; empty without <c>--qat-minutes</c>.</summary>
    public IReadOnlyList<MethodEntry> Methods { get; init; } = [];

    /// <summary>The layers that the recipe keeps float, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    /// <summary>Warnings about the recipe.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    public const string CurrentSchema = "nibble.mix/2";

    /// <summary>The unit of losses.</summary>
    public LossUnit Unit() => LossUnit.Of(TaskConfig.TaskOf(Task));
}

/// <summary>A recipe that was predicted and measured.</summary>
internal sealed record MixEntry(
    string Recipe, double AverageBits, long Bytes, double Predicted, double Low, double High, double Loss, double LossError, double Kl);

/// <summary>A way to divide a model's layers between PTQ and QAT: the layers that are trained, the number of steps, and the loss after the steps that were
/// tried.</summary>
internal sealed record MethodEntry(string Trained, int Layers, int Steps, double StepSeconds, int TriedSteps, double Loss, double LossError);

/// <summary>The document of <c>export --json</c>.</summary>
internal sealed record ExportDocument(
    string Schema, string Model, string Format, string Output, long Bytes, IReadOnlyDictionary<string, int> Types, IReadOnlyList<string> Notes, double Seconds)
{
    /// <summary>The layers that are written as codes.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized { get; init; } = [];

    /// <summary>The layers that are written as floats, and why.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    public const string CurrentSchema = "nibble.export/1";
}

/// <summary>The document of <c>import --json</c>.</summary>
internal sealed record ImportDocument(string Schema, string Model, string Format, string Output, int Layers, long Bytes, IReadOnlyList<string> Notes)
{
    /// <summary>The layers that have codes.</summary>
    public IReadOnlyList<SummarizedLayer> Quantized { get; init; } = [];

    /// <summary>The layers that have no codes.</summary>
    public IReadOnlyList<KeptLayer> Kept { get; init; } = [];

    public const string CurrentSchema = "nibble.import/1";
}

/// <summary>The document of <c>verify --json</c> for a decoder.</summary>
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

    /// <summary>The difference that the engine's rounding explains; null for ONNX Runtime.</summary>
    public ExplainedDifference? Explained { get; init; }
}

/// <summary>The document of <c>quantize --json</c>.</summary>
internal sealed record GgufDocument(
    string Schema, string Output, long Bytes, long SourceBytes, IReadOnlyDictionary<string, int> Types, IReadOnlyList<string> Ragged,
    IReadOnlyList<string> Unweighted, double Seconds, long PeakBytes)
{
    /// <summary>Matrices with a different type from the mixture's.</summary>
    public IReadOnlyList<FallbackEntry> Fallbacks { get; init; } = [];

    /// <summary>Names of the tensors that are copied unchanged, such as norms.</summary>
    public IReadOnlyList<string> Copied { get; init; } = [];

    /// <summary>Names of the matrices that already have the type and keep their codes.</summary>
    public IReadOnlyList<string> Unchanged { get; init; } = [];

    /// <summary>Names of the matrices whose types do not use the importance matrix.</summary>
    public IReadOnlyList<string> ImportanceIgnored { get; init; } = [];

    /// <summary>The same as sentences.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    public const string CurrentSchema = "nibble.gguf/1";
}

/// <summary>Matrices with rows that the blocks of the mixture's type do not divide: their number, and the first one with its columns.</summary>
internal sealed record FallbackEntry(string Wanted, string Type, int Tensors, string Example, long Columns);

/// <summary>The document of <c>imatrix --json</c>.</summary>
internal sealed record ImatrixDocument(string Schema, string Model, string Data, string Output, int Matrices, int Windows, int Context, double Seconds)
{
    public const string CurrentSchema = "nibble.imatrix/1";
}

/// <summary>The document of any command with <c>--json</c> that fails.</summary>
internal sealed record ErrorDocument(string Schema, string Error, int ExitCode, string Message)
{
    public const string CurrentSchema = "nibble.error/1";
}

/// <summary>Writes the documents.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n", RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true,
    Converters =
    [
        typeof(FiniteNumberConverter), typeof(CamelCaseConverter<Method>), typeof(CamelCaseConverter<Evidence>), typeof(CamelCaseConverter<Verdict>),
        typeof(CamelCaseConverter<OnnxMode>),
    ])]
[JsonSerializable(typeof(AdviceDocument))]
[JsonSerializable(typeof(CostDocument))]
[JsonSerializable(typeof(ErrorDocument))]
[JsonSerializable(typeof(EvalDocument))]
[JsonSerializable(typeof(EvalTasksDocument))]
[JsonSerializable(typeof(FinetuneDocument))]
[JsonSerializable(typeof(QuantizeDocument))]
[JsonSerializable(typeof(EstimateDocument))]
[JsonSerializable(typeof(GenerateDocument))]
[JsonSerializable(typeof(InspectDocument))]
[JsonSerializable(typeof(RecipesDocument))]
[JsonSerializable(typeof(InspectFileDocument))]
[JsonSerializable(typeof(SensitivityDocument))]
[JsonSerializable(typeof(MixDocument))]
[JsonSerializable(typeof(ExportDocument))]
[JsonSerializable(typeof(ImportDocument))]
[JsonSerializable(typeof(VerifyDocument))]
[JsonSerializable(typeof(VerifyEncoderDocument))]
[JsonSerializable(typeof(GgufDocument))]
[JsonSerializable(typeof(OnnxEstimateDocument))]
[JsonSerializable(typeof(OnnxQuantizeDocument))]
[JsonSerializable(typeof(OnnxSensitivityDocument))]
[JsonSerializable(typeof(VerifyOnnxDocument))]
[JsonSerializable(typeof(BenchOnnxDocument))]
[JsonSerializable(typeof(BenchDocument))]
[JsonSerializable(typeof(BenchEncoderDocument))]
[JsonSerializable(typeof(ImatrixDocument))]
internal sealed partial class CliJson : JsonSerializerContext;
