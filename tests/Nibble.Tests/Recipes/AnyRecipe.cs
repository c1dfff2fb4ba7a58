using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

/// <summary>Generates every recipe that a file can say.</summary>
internal static class AnyRecipe
{
    public static Gen<QuantizationScheme> Weights { get; } =
        from granularity in Gen.OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Channel), Gen.Int[1, 256].Select(Granularity.Group))
        from bits in Gen.Int[1, 8]
        from symmetric in Gen.Bool
        from scale in Gen.Enum<ScalePrecision>()
        from stretched in Gen.Bool
        let scheme = bits == 1 ? QuantizationScheme.CreateTernary(granularity)
            : stretched ? QuantizationScheme.CreateStretched(bits, granularity)
            : new QuantizationScheme(bits, symmetric, granularity)
        select scheme with { ScalePrecision = scale };

    public static Gen<ActivationRule> Activations { get; } =
        from granularity in Gen.OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Token))
        from bits in Gen.Int[2, 8]
        from symmetric in Gen.Bool
        from scale in Gen.Enum<ScalePrecision>()
        from observer in Gen.Enum<ObserverKind>()
        select new ActivationRule(new QuantizationScheme(bits, symmetric, granularity) { ScalePrecision = scale }, observer);

    public static Gen<WeightAlgorithms> Algorithms { get; } =
        from scaling in Gen.Enum<ChannelScaling>()
        from rounding in Gen.Enum<WeightRounding>()
        from learning in Gen.Enum<RoundingLearning>()
        from correction in Gen.Bool
        select new WeightAlgorithms(scaling, rounding, learning, correction);

    public static Gen<RecipeRule> Rule { get; } =
        from pattern in Text
        from weights in Gen.OneOf(Gen.Const<QuantizationScheme?>(() => null), Weights.Select(scheme => (QuantizationScheme?)scheme))
        from activations in Gen.OneOf(Gen.Const<ActivationRule?>(() => null), Activations.Select(rule => (ActivationRule?)rule))
        from range in Gen.Enum<WeightRange>()
        from algorithms in Algorithms
        from methods in Method.Array[2]
        select new RecipeRule(pattern, weights, activations, weights is null ? WeightRange.MinMax : range)
        {
            Algorithms = weights is null or { Format: CodeFormat.Stretched } ? WeightAlgorithms.RoundToNearest : algorithms,
            WeightMethod = weights is null ? null : methods[0],
            ActivationMethod = activations is null ? null : methods[1],
        };

    public static Gen<PtqSettings> Ptq { get; } =
        from order in Gen.Enum<ActivationOrder>()
        from sequential in Gen.Bool
        from counts in Gen.Int[2, int.MaxValue].Array[5]
        from dampening in Gen.Double[1e-300, 1]
        from asymmetry in Gen.Double[1e-300, 1]
        from rate in Gen.Double[1e-300, 1e38]
        select new PtqSettings
        {
            Windows = counts[0],
            SequenceLength = counts[1],
            Dampening = dampening,
            ActivationOrder = order,
            Asymmetry = asymmetry,
            Sequential = sequential,
            ScalingGrid = counts[2],
            LearningSteps = counts[3],
            LearningBatch = counts[4],
            LearningRate = rate,
        };

    /// <summary>Null at times.</summary>
    public static Gen<KeyValueCacheRule?> Cache { get; } =
        from keys in Gen.OneOf(Gen.Const<QuantizationScheme?>(() => null), CacheScheme(Granularity.Token), CacheScheme(Granularity.Channel))
        from values in Gen.OneOf(Gen.Const<QuantizationScheme?>(() => null), CacheScheme(Granularity.Token))
        from observer in Gen.Enum<ObserverKind>()
        select keys is null && values is null ? null : new KeyValueCacheRule(keys, values, observer);

    /// <summary>Null at times.</summary>
    public static Gen<DistillationSettings?> Distillation { get; } =
        from present in Gen.Bool
        from weight in Gen.Double.Unit
        from positive in Gen.Double[1e-300, 1e38].Array[2]
        from steps in Gen.Int[0, int.MaxValue]
        select present ? new DistillationSettings { Weight = weight, Temperature = positive[0], Hidden = positive[1], TeacherSteps = steps } : null;

    public static Gen<QatSchedule> Schedule { get; } =
        from shares in Gen.Double.Unit.Array[6]
        from bits in Gen.OneOf(Gen.Const(0), Gen.Int[2, 8])
        select new QatSchedule
        {
            FloatShare = shares[0],
            ActivationDelay = shares[1],
            ObserverFreeze = shares[2],
            BatchNormFreeze = shares[3],
            Gradual = shares[4],
            AnnealingShare = shares[5],
            AnnealFrom = bits,
        };

    public static Gen<QatSettings> Qat { get; } =
        from estimator in Gen.Enum<GradientEstimator>()
        from activations in Gen.Enum<ActivationEstimator>()
        from mode in Gen.Enum<TrainingMode>()
        from start in Algorithms
        from precision in Gen.Enum<TrainingPrecision>()
        from recompute in Gen.Bool
        from counts in Gen.Int[2, int.MaxValue].Array[7]
        from accumulation in Gen.OneOf(Gen.Const(1), Gen.Const(counts[1]))
        from positive in Gen.Double[1e-300, 1e38].Array[5]
        from shares in Gen.Double.Unit.Array[3]
        from rated in Gen.Bool
        from distillation in Distillation
        from schedule in Schedule
        select new QatSettings
        {
            Estimator = estimator,
            Activations = activations,
            Mode = mode,
            Start = start,
            Precision = precision,
            Recompute = recompute,
            Steps = counts[0],
            BatchSize = counts[1],
            SequenceLength = counts[2],
            Accumulation = accumulation,
            EvaluateEvery = counts[3],
            Patience = counts[4],
            AdapterRank = counts[5],
            BlockSteps = counts[6],
            LearningRate = positive[0],
            ScaleLearningRate = positive[1],
            FloatLearningRate = rated ? positive[1] : null,
            WeightDecay = positive[2],
            GradientClip = positive[3],
            Dampening = positive[4],
            WarmUp = shares[0],
            FinalLearningRate = shares[1],
            AverageDecay = shares[2],
            Distillation = distillation,
            Schedule = schedule,
        };

    public static Gen<Recipe> Recipe { get; } =
        from name in Text
        from rules in Rule.Array[0, 4]
        from qat in Qat
        from ptq in Ptq
        from rotation in Gen.Enum<Rotation>()
        from cache in Cache
        select new Recipe(name, rules) { Qat = qat, Ptq = ptq, Rotation = rotation, KeyValueCache = cache };

    public static Gen<Method?> Method => Gen.Int[0, 2].Select(choice => choice == 0 ? (Method?)null : (Method)(choice - 1));

    private static Gen<string> Text =>
        Gen.OneOf(Gen.Char['!', '~'], Gen.Char['\0', '\ud7ff'], Gen.OneOf('*', '?', '.', ' ', '\n', '"', '\\', ':', '#', '\u2028', '\ufeff'))
        .Array[1, 12]
        .Select(characters => new string(characters));

    private static Gen<QuantizationScheme?> CacheScheme(Granularity granularity) =>
        from bits in Gen.Int[2, 8]
        from symmetric in Gen.Bool
        from scale in Gen.Enum<ScalePrecision>()
        select (QuantizationScheme?)new QuantizationScheme(bits, symmetric, granularity) { ScalePrecision = scale };
}
