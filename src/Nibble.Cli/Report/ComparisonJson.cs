using System.Text.Json;
using System.Text.Json.Serialization;
using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>The document of <c>compare --json</c>: all that the report is made of.</summary>
internal static class ComparisonJson
{
    /// <summary>Name and version of the document's schema. The version rises when a field changes its meaning or is removed.</summary>
    public const string Schema = "nibble.compare/2";

    /// <summary>The document, indented, without a final line break.</summary>
    public static string Serialize(ComparisonResult result) =>
        JsonSerializer.Serialize(new ComparisonDocument(Schema, result, Advice.For(result)), ComparisonJsonContext.Default.ComparisonDocument);

    /// <summary>Reads a document. The advice is not read, because it follows from the rest.</summary>
    /// <exception cref="JsonException">The text is not such a document.</exception>
    public static ComparisonResult Parse(string text) =>
        JsonSerializer.Deserialize(text, ComparisonJsonContext.Default.ComparisonResult) ?? throw new JsonException("The document is null.");
}

/// <summary>The JSON document of a comparison.</summary>
internal sealed class ComparisonDocument(string schema, ComparisonResult result, Advice advice)
{
    public string Schema { get; } = schema;

    public DateTimeOffset Date { get; } = result.Date;

    public string CommandLine { get; } = result.CommandLine;

    public long Seed { get; } = result.Seed;

    public string Task { get; } = TaskConfig.NameOf(result.Task);

    public string LossUnit { get; } = result.Scale.LossUnit;

    public FineTuning? FineTuning { get; } = result.FineTuning;

    public ComparedModel Model { get; } = result.Model;

    public TrainingData Training { get; } = result.Training;

    public EvaluationData Evaluation { get; } = result.Evaluation;

    public QatSettings? Qat { get; } = result.Qat;

    public MachineInfo Machine { get; } = result.Machine;

    public VersionInfo Versions { get; } = result.Versions;

    public string? Prompt { get; } = result.Prompt;

    public Baseline Baseline { get; } = result.Baseline;

    public IReadOnlyList<ComparisonRun> Runs { get; } = result.Runs;

    public Advice Advice { get; } = advice;
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true,
    NewLine = "\n",
    Converters = [typeof(FiniteNumberConverter), typeof(CamelCaseConverter<Method>), typeof(QatSettingsConverter)])]
[JsonSerializable(typeof(ComparisonDocument))]
[JsonSerializable(typeof(ComparisonResult))]
internal sealed partial class ComparisonJsonContext : JsonSerializerContext;

/// <summary>Writes a method, or a word for no method.</summary>
/// <param name="none">The word for no method.</param>
internal abstract class MethodConverter(string none) : JsonConverter<Method?>
{
    public override bool HandleNull => true;

    public override Method? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        reader.GetString() is { } word && word != none ? Enum.Parse<Method>(word, ignoreCase: true) : null;

    public override void Write(Utf8JsonWriter writer, Method? value, JsonSerializerOptions options) =>
        writer.WriteStringValue(value?.Word() ?? none);
}

internal sealed class FloatOrMethodConverter() : MethodConverter("float");

internal sealed class NeitherOrMethodConverter() : MethodConverter("neither");

/// <summary>Writes training settings as in recipe files.</summary>
internal sealed class QatSettingsConverter : JsonConverter<QatSettings>
{
    public override QatSettings Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        using var settings = JsonDocument.ParseValue(ref reader);
        try
        {
            // YAML includes JSON.
            return RecipeFile.ParseYaml($"rules: []\nqat: {settings.RootElement.GetRawText().ReplaceLineEndings(" ")}", nameof(QatSettings)).Qat;
        }
        catch (NibbleException exception)
        {
            throw new JsonException(exception.Message, exception);
        }
    }

    public override void Write(Utf8JsonWriter writer, QatSettings value, JsonSerializerOptions options)
    {
        using var recipe = JsonDocument.Parse(RecipeFile.ToJson(new Recipe(nameof(QatSettings), []) { Qat = value }));
        recipe.RootElement.GetProperty("qat").WriteTo(writer);
    }
}

/// <summary>Writes a task by its name.</summary>
internal sealed class TaskConverter : JsonConverter<ModelTask>
{
    public override ModelTask Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        TaskConfig.TaskOf(reader.GetString() ?? string.Empty) ?? throw new JsonException("The task is unknown.");

    public override void Write(Utf8JsonWriter writer, ModelTask value, JsonSerializerOptions options) => writer.WriteStringValue(TaskConfig.NameOf(value));
}

/// <summary>Writes numbers that JSON cannot express as null.</summary>
internal sealed class FiniteNumberConverter : JsonConverter<double>
{
    public override bool HandleNull => true;

    public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        reader.TokenType == JsonTokenType.Null ? double.NaN : reader.GetDouble();

    public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options)
    {
        if (double.IsFinite(value))
        {
            writer.WriteNumberValue(value);
        }
        else
        {
            writer.WriteNullValue();
        }
    }
}

internal sealed class CamelCaseConverter<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.CamelCase)
    where T : struct, Enum;
