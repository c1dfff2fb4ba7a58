using System.Text.Json;

namespace Nibble.Recipes;

/// <summary>The text form of a recipe's settings for quantization-aware training.</summary>
internal static class QatSettingsText
{
    private const string None = "none";

    private static readonly string[] DistillationKeys = ["weight", "temperature", "hidden", "teacherSteps"];
    private static readonly string[] ScheduleKeys = [
        "floatShare", "activationDelay", "observerFreeze", "batchNormFreeze", "gradual", "annealFrom", "annealingShare"];

    private static readonly Dictionary<string, GradientEstimator> Estimators = new()
    {
        ["straightThrough"] = GradientEstimator.StraightThrough,
        ["learnedScale"] = GradientEstimator.LearnedScale,
        ["learnedScaleAndOffset"] = GradientEstimator.LearnedScaleAndOffset,
    };

    private static readonly Dictionary<string, ActivationEstimator> ActivationEstimators = new()
    {
        ["straightThrough"] = ActivationEstimator.StraightThrough,
        ["learnedScale"] = ActivationEstimator.LearnedScale,
        ["learnedScaleAndOffset"] = ActivationEstimator.LearnedScaleAndOffset,
        ["clippedActivation"] = ActivationEstimator.ClippedActivation,
    };

    private static readonly Dictionary<string, TrainingMode> Modes = new()
    {
        ["full"] = TrainingMode.Full,
        ["blockWise"] = TrainingMode.BlockWise,
        ["scales"] = TrainingMode.Scales,
        ["adapters"] = TrainingMode.Adapters,
        ["adaptersOnNormalFloat"] = TrainingMode.AdaptersOnNormalFloat,
    };

    private static readonly Dictionary<string, TrainingPrecision> Precisions = new()
    {
        ["float32"] = TrainingPrecision.Float32,
        ["bfloat16"] = TrainingPrecision.BFloat16,
    };

    /// <summary>The keys that <see cref="Parse"/> accepts.</summary>
    public static string[] Keys { get; } =
    [
        "estimator", "activations", "mode", "start", "steps", "batchSize", "sequenceLength", "accumulation", "recompute", "precision", "learningRate",
        "scaleLearningRate", "floatLearningRate",
        "weightDecay", "warmUp", "finalLearningRate", "gradientClip", "averageDecay", "dampening", "distillation", "schedule", "evaluateEvery", "patience",
        "adapterRank", "blockSteps",
    ];

    /// <summary>Reads settings. Missing ones are taken from <paramref name="defaults"/>.</summary>
    public static QatSettings Parse(YamlMap map, QatSettings defaults)
    {
        var settings = new QatSettings
        {
            Estimator = map.Choice("estimator", defaults.Estimator, Estimators),
            Activations = map.Choice("activations", defaults.Activations, ActivationEstimators),
            Mode = map.Choice("mode", defaults.Mode, Modes),
            Start = map.Has("start") ? Start(map) : defaults.Start,
            Steps = map.Integer("steps", defaults.Steps, min: 1),
            BatchSize = map.Integer("batchSize", defaults.BatchSize, min: 1),
            SequenceLength = map.Integer("sequenceLength", defaults.SequenceLength, min: 2),
            Accumulation = map.Integer("accumulation", defaults.Accumulation, min: 1),
            Recompute = map.Flag("recompute", defaults.Recompute),
            Precision = map.Choice("precision", defaults.Precision, Precisions),
            LearningRate = map.Number("learningRate", defaults.LearningRate, min: 0),
            ScaleLearningRate = map.Number("scaleLearningRate", defaults.ScaleLearningRate, min: 0),
            FloatLearningRate = map.Has("floatLearningRate") ? map.Number("floatLearningRate", 0, min: 0) : defaults.FloatLearningRate,
            WeightDecay = map.Number("weightDecay", defaults.WeightDecay, min: 0),
            WarmUp = map.Number("warmUp", defaults.WarmUp, min: 0, max: 1),
            FinalLearningRate = map.Number("finalLearningRate", defaults.FinalLearningRate, min: 0, max: 1),
            GradientClip = map.Number("gradientClip", defaults.GradientClip, min: double.Epsilon),
            AverageDecay = map.Number("averageDecay", defaults.AverageDecay, min: 0, max: 1),
            Dampening = map.Number("dampening", defaults.Dampening, min: 0),
            Distillation = map.Has("distillation") ? Distillation(map, defaults.Distillation ?? new DistillationSettings()) : defaults.Distillation,
            Schedule = map.Map("schedule", ScheduleKeys) is { } schedule ? Schedule(schedule, defaults.Schedule) : defaults.Schedule,
            EvaluateEvery = map.Integer("evaluateEvery", defaults.EvaluateEvery, min: 0),
            Patience = map.Integer("patience", defaults.Patience, min: 0),
            AdapterRank = map.Integer("adapterRank", defaults.AdapterRank, min: 1),
            BlockSteps = map.Integer("blockSteps", defaults.BlockSteps, min: 1),
        };
        try
        {
            settings.Validate();
            return settings;
        }
        catch (ArgumentOutOfRangeException exception)
        {
            throw map.Fault(Keys.FirstOrDefault(key => key.Equals(exception.ParamName, StringComparison.OrdinalIgnoreCase)) ?? "schedule", exception.Message);
        }
    }

    /// <summary>Writes settings as the value of the key <c>qat</c>.</summary>
    public static void Write(Utf8JsonWriter writer, QatSettings qat)
    {
        writer.WriteStartObject("qat");
        writer.WriteString("estimator", RecipeFile.Word(Estimators, qat.Estimator));
        writer.WriteString("activations", RecipeFile.Word(ActivationEstimators, qat.Activations));
        writer.WriteString("mode", RecipeFile.Word(Modes, qat.Mode));
        RecipeFile.WriteNames(writer, "start", qat.Start.Names);
        writer.WriteNumber("steps", qat.Steps);
        writer.WriteNumber("batchSize", qat.BatchSize);
        writer.WriteNumber("sequenceLength", qat.SequenceLength);
        writer.WriteNumber("accumulation", qat.Accumulation);
        writer.WriteBoolean("recompute", qat.Recompute);
        writer.WriteString("precision", RecipeFile.Word(Precisions, qat.Precision));
        writer.WriteNumber("learningRate", qat.LearningRate);
        writer.WriteNumber("scaleLearningRate", qat.ScaleLearningRate);
        if (qat.FloatLearningRate is { } rate)
        {
            writer.WriteNumber("floatLearningRate", rate);
        }

        writer.WriteNumber("weightDecay", qat.WeightDecay);
        writer.WriteNumber("warmUp", qat.WarmUp);
        writer.WriteNumber("finalLearningRate", qat.FinalLearningRate);
        writer.WriteNumber("gradientClip", qat.GradientClip);
        writer.WriteNumber("averageDecay", qat.AverageDecay);
        writer.WriteNumber("dampening", qat.Dampening);
        Write(writer, qat.Distillation);
        Write(writer, qat.Schedule);
        writer.WriteNumber("evaluateEvery", qat.EvaluateEvery);
        writer.WriteNumber("patience", qat.Patience);
        writer.WriteNumber("adapterRank", qat.AdapterRank);
        writer.WriteNumber("blockSteps", qat.BlockSteps);
        writer.WriteEndObject();
    }

    private static WeightAlgorithms Start(YamlMap map)
    {
        try
        {
            return WeightAlgorithms.Parse(map.Texts("start")!);
        }
        catch (NibbleException exception)
        {
            throw map.Fault("start", exception.Message);
        }
    }

    private static DistillationSettings? Distillation(YamlMap map, DistillationSettings defaults) =>
        map.MapUnless("distillation", None, DistillationKeys) is not { } teacher ? null : new()
        {
            Weight = teacher.Number("weight", defaults.Weight, min: 0, max: 1),
            Temperature = teacher.Number("temperature", defaults.Temperature, min: double.Epsilon),
            Hidden = teacher.Number("hidden", defaults.Hidden, min: 0),
            TeacherSteps = teacher.Integer("teacherSteps", defaults.TeacherSteps, min: 0),
        };

    private static QatSchedule Schedule(YamlMap map, QatSchedule defaults) => new()
    {
        FloatShare = map.Number("floatShare", defaults.FloatShare, min: 0, max: 1),
        ActivationDelay = map.Number("activationDelay", defaults.ActivationDelay, min: 0, max: 1),
        ObserverFreeze = map.Number("observerFreeze", defaults.ObserverFreeze, min: 0, max: 1),
        BatchNormFreeze = map.Number("batchNormFreeze", defaults.BatchNormFreeze, min: 0, max: 1),
        Gradual = map.Number("gradual", defaults.Gradual, min: 0, max: 1),
        AnnealFrom = map.Integer("annealFrom", defaults.AnnealFrom, min: 0, max: 8),
        AnnealingShare = map.Number("annealingShare", defaults.AnnealingShare, min: 0, max: 1),
    };

    private static void Write(Utf8JsonWriter writer, DistillationSettings? teacher)
    {
        if (teacher is null)
        {
            writer.WriteString("distillation", None);
            return;
        }

        writer.WriteStartObject("distillation");
        writer.WriteNumber("weight", teacher.Weight);
        writer.WriteNumber("temperature", teacher.Temperature);
        writer.WriteNumber("hidden", teacher.Hidden);
        writer.WriteNumber("teacherSteps", teacher.TeacherSteps);
        writer.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter writer, QatSchedule schedule)
    {
        writer.WriteStartObject("schedule");
        writer.WriteNumber("floatShare", schedule.FloatShare);
        writer.WriteNumber("activationDelay", schedule.ActivationDelay);
        writer.WriteNumber("observerFreeze", schedule.ObserverFreeze);
        writer.WriteNumber("batchNormFreeze", schedule.BatchNormFreeze);
        writer.WriteNumber("gradual", schedule.Gradual);
        writer.WriteNumber("annealFrom", schedule.AnnealFrom);
        writer.WriteNumber("annealingShare", schedule.AnnealingShare);
        writer.WriteEndObject();
    }
}
