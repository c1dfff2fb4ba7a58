namespace Nibble.Recipes;

/// <summary>How the gradient passes the fake quantizer of a weight.</summary>
public enum GradientEstimator
{
    /// <summary>Straight-through with ranges recomputed from the weights at every step (Bengio et al. 2013; Jacob et al. 2018).</summary>
    StraightThrough,

    /// <summary>Straight-through with the scale itself learned (LSQ, Esser et al. 2020).</summary>
    LearnedScale,

    /// <summary>The zero point of asymmetric schemes is learned too (LSQ+, Bhalgat et al. 2020).</summary>
    LearnedScaleAndOffset,
}

/// <summary>How the gradient passes the fake quantizer of a statically quantized activation. Activations per token have nothing to learn.</summary>
public enum ActivationEstimator
{
    /// <summary>Straight-through inside the range, which an observer follows until it is frozen.</summary>
    StraightThrough,

    /// <summary>The scale is learned (LSQ, Esser et al. 2020).</summary>
    LearnedScale,

    /// <summary>Scale and zero point are learned (LSQ+, Bhalgat et al. 2020).</summary>
    LearnedScaleAndOffset,

    /// <summary>The upper end of a range from zero on is learned (PACT, Choi et al. 2018): for what a ReLU yields.</summary>
    ClippedActivation,
}

/// <summary>What training changes.</summary>
public enum TrainingMode
{
    /// <summary>Weights, scales and all that stays float, end to end.</summary>
    Full,

    /// <summary>One block after another, weights and scales against the float block's outputs; then the scales alone, end to end (EfficientQAT, Chen et al.
    /// 2024).</summary>
    BlockWise,

    /// <summary>The scales alone, end to end, over codes that stay as they start (EfficientQAT's second phase).</summary>
    Scales,

    /// <summary>Low-rank adapters inside the fake quantizer, merged onto the grid in the end (LoRA, Hu et al. 2022).</summary>
    Adapters,

    /// <summary>As <see cref="Adapters"/>, over weights that are held in 4-bit NormalFloat meanwhile (QLoRA, Dettmers et al. 2023).</summary>
    AdaptersOnNormalFloat,
}

/// <summary>The arithmetic of the forward and backward pass.</summary>
public enum TrainingPrecision
{
    /// <summary>IEEE 754 binary32.</summary>
    Float32,

    /// <summary>bfloat16 products, on devices that have them; parameters stay binary32.</summary>
    BFloat16,
}

/// <summary>What is learned from the float model instead of the text alone (Hinton et al. 2015).</summary>
public sealed record DistillationSettings
{
    /// <summary>Share of the loss that the divergence from the teacher's predictions takes, 0 to 1; cross-entropy with the text takes the rest.</summary>
    public double Weight { get; init; } = 1;

    /// <summary>Divides both models' logits before they are compared, above 0.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Weight of the mean squared error between the blocks' outputs of both models, relative to the teacher's mean square; 0 leaves it out.</summary>
    public double Hidden { get; init; }

    /// <summary>Steps that the float model is itself trained on the text first, with the student's rates, batches and schedule; 0 takes it as it is.</summary>
    /// <remarks>Training gains from the text as well as it loses to quantization; a teacher that has not seen the text would hold the student back.</remarks>
    public int TeacherSteps { get; init; }
}

/// <summary>When what of the quantization is switched on or off in training. Shares are of all steps, 0 to 1.</summary>
public sealed record QatSchedule
{
    /// <summary>Share of the steps trained in float, before anything is quantized.</summary>
    public double FloatShare { get; init; }

    /// <summary>Share of the steps before activations are quantized.</summary>
    public double ActivationDelay { get; init; }

    /// <summary>Share of the steps after which observed ranges of activations no longer move.</summary>
    public double ObserverFreeze { get; init; } = 0.5;

    /// <summary>Share of the steps after which batch normalization uses and keeps its running statistics.</summary>
    public double BatchNormFreeze { get; init; } = 0.5;

    /// <summary>Share of the steps over which one layer after another is quantized, the model's last ones last; 0 quantizes all at once.</summary>
    public double Gradual { get; init; }

    /// <summary>Bits to begin with; they are halved in equal parts of <see cref="AnnealingShare"/> until the scheme's are reached (8, 4, 2). 0 begins with the
    /// scheme's.</summary>
    public int AnnealFrom { get; init; }

    /// <summary>Share of the steps that wider weights take in all.</summary>
    public double AnnealingShare { get; init; } = 0.5;
}

/// <summary>How quantization-aware training runs.</summary>
public sealed record QatSettings
{
    /// <summary>How the gradient passes the weights' fake quantizers.</summary>
    public GradientEstimator Estimator { get; init; } = GradientEstimator.LearnedScale;

    /// <summary>How it passes those of static activations.</summary>
    public ActivationEstimator Activations { get; init; } = ActivationEstimator.LearnedScale;

    /// <summary>What training changes.</summary>
    public TrainingMode Mode { get; init; }

    /// <summary>The post-training algorithms whose solution training begins with; round to nearest begins with the float weights.</summary>
    public WeightAlgorithms Start { get; init; } = WeightAlgorithms.RoundToNearest;

    /// <summary>Optimizer steps, at least 1.</summary>
    public int Steps { get; init; } = 300;

    /// <summary>Sequences in a step, at least 1.</summary>
    public int BatchSize { get; init; } = 4;

    /// <summary>Tokens in a sequence, at least 2.</summary>
    public int SequenceLength { get; init; } = 512;

    /// <summary>Parts that a step's batch is worked on in, whose gradients are added up: less memory, the same step. Divides the batch size.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>Whether a block's activations are computed again in the backward pass instead of kept: less memory, about a third more time.</summary>
    public bool Recompute { get; init; }

    /// <summary>The arithmetic of the forward and backward pass.</summary>
    public TrainingPrecision Precision { get; init; }

    /// <summary>AdamW's peak learning rate of the weights.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>AdamW's peak learning rate of learned scales, relative to each scale's starting value.</summary>
    public double ScaleLearningRate { get; init; } = 1e-3;

    /// <summary>AdamW's peak learning rate of what stays float: embeddings, norms, biases; null takes <see cref="LearningRate"/>, or trains nothing of it where
    /// post-training quantization chooses all weights.</summary>
    public double? FloatLearningRate { get; init; }

    /// <summary>AdamW's decoupled weight decay of the matrices.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Share of the steps over which the learning rate rises from 0 to its peak, 0 to 1; it then falls along a cosine.</summary>
    public double WarmUp { get; init; } = 0.05;

    /// <summary>The learning rate at the end, as a share of its peak, 0 to 1.</summary>
    public double FinalLearningRate { get; init; } = 0.01;

    /// <summary>The greatest norm of the gradient; longer ones are shortened to it.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Decay of the moving average of the weights that is converted in the end, 0 to below 1; 0 converts the weights of the last step.</summary>
    public double AverageDecay { get; init; }

    /// <summary>Weight of the penalty that draws weights towards the middle of their step, which damps oscillation (Nagel et al. 2022); it grows along a
    /// cosine. 0 leaves it out.</summary>
    public double Dampening { get; init; }

    /// <summary>What is learned from the float model; null learns from the text alone.</summary>
    public DistillationSettings? Distillation { get; init; }

    /// <summary>When what is switched on or off.</summary>
    public QatSchedule Schedule { get; init; } = new();

    /// <summary>Steps between two looks at text that is held out of training; 0 trains on all text and looks at none.</summary>
    public int EvaluateEvery { get; init; }

    /// <summary>Looks without a better loss after which training stops early and the best parameters are taken back; 0 never stops early.</summary>
    public int Patience { get; init; }

    /// <summary>Adapters: columns of the low-rank factors, at least 1.</summary>
    public int AdapterRank { get; init; } = 16;

    /// <summary>Block-wise training: steps a block, at least 1; <see cref="Steps"/> is then the number of end-to-end steps of the scales.</summary>
    public int BlockSteps { get; init; } = 200;

    /// <summary>The settings that presets have for a number of weight bits: the fewer, the faster scales and weights have to move.</summary>
    /// <param name="bits">Bits of a weight, 2 to 8.</param>
    public static QatSettings ForWidth(int bits) => bits switch
    {
        <= 2 => new QatSettings { LearningRate = 2e-3, FloatLearningRate = 1e-3, ScaleLearningRate = 1e-2 },
        3 => new QatSettings { ScaleLearningRate = 5e-3 },
        _ => new QatSettings(),
    };

    /// <summary>The settings that suit a pretrained encoder: rates of fine-tuning, larger batches of short texts, ranges of inputs learned with their offsets,
    /// and the float model as the teacher, of each block as of the whole.</summary>
    /// <param name="bits">Bits of a weight, 2 to 8.</param>
    public static QatSettings ForEncoder(int bits) => new()
    {
        LearningRate = bits <= 2 ? 1e-4 : 5e-5,
        ScaleLearningRate = 1e-3,
        FloatLearningRate = 5e-5,
        WeightDecay = 0.01,
        WarmUp = 0.1,
        BatchSize = 32,
        Activations = ActivationEstimator.LearnedScaleAndOffset,
        Distillation = new DistillationSettings { Weight = 1, Temperature = 2, Hidden = 4 },
    };

    /// <summary>The settings that presets have where weights are frozen, and ranges of activations and what stays float are trained: few numbers, which take
    /// few steps and high rates.</summary>
    public static QatSettings ForRanges { get; } =
        new() { Activations = ActivationEstimator.LearnedScaleAndOffset, Steps = 90, FloatLearningRate = 5e-3, ScaleLearningRate = 3e-2 };

    /// <summary>Refuses settings that no training could follow.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A setting is outside the range its documentation gives.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Steps, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(SequenceLength, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(Accumulation, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(EvaluateEvery, 0);
        ArgumentOutOfRangeException.ThrowIfLessThan(Patience, 0);
        ArgumentOutOfRangeException.ThrowIfLessThan(AdapterRank, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(BlockSteps, 1);
        Require(BatchSize % Accumulation == 0, Accumulation, nameof(Accumulation), $"a divisor of the batch size {BatchSize}");
        Require(Patience == 0 || EvaluateEvery > 0, Patience, nameof(Patience), $"0 unless {nameof(EvaluateEvery)} is above 0");
        RequireWithin(LearningRate, Largest, nameof(LearningRate));
        RequireWithin(ScaleLearningRate, Largest, nameof(ScaleLearningRate));
        RequireWithin(FloatLearningRate ?? 0, Largest, nameof(FloatLearningRate));
        RequireWithin(WeightDecay, Largest, nameof(WeightDecay));
        RequireWithin(WarmUp, 1, nameof(WarmUp));
        RequireWithin(FinalLearningRate, 1, nameof(FinalLearningRate));
        RequireWithin(GradientClip, Largest, nameof(GradientClip));
        Require(AverageDecay is >= 0 and < 1, AverageDecay, nameof(AverageDecay), "0 to below 1");
        RequireWithin(Dampening, Largest, nameof(Dampening));
        if (Distillation is { } teacher)
        {
            RequireWithin(teacher.Weight, 1, nameof(DistillationSettings.Weight));
            Require(teacher.Temperature > 0 && teacher.Temperature <= Largest, teacher.Temperature, nameof(DistillationSettings.Temperature), "above 0");
            RequireWithin(teacher.Hidden, Largest, nameof(DistillationSettings.Hidden));
            ArgumentOutOfRangeException.ThrowIfLessThan(teacher.TeacherSteps, 0);
        }

        RequireWithin(Schedule.FloatShare, 1, nameof(QatSchedule.FloatShare));
        RequireWithin(Schedule.ActivationDelay, 1, nameof(QatSchedule.ActivationDelay));
        RequireWithin(Schedule.ObserverFreeze, 1, nameof(QatSchedule.ObserverFreeze));
        RequireWithin(Schedule.BatchNormFreeze, 1, nameof(QatSchedule.BatchNormFreeze));
        RequireWithin(Schedule.Gradual, 1, nameof(QatSchedule.Gradual));
        RequireWithin(Schedule.AnnealingShare, 1, nameof(QatSchedule.AnnealingShare));
        Require(Schedule.AnnealFrom is 0 or (>= 2 and <= 8), Schedule.AnnealFrom, nameof(QatSchedule.AnnealFrom), "0, or 2 to 8 bits");
    }

    /// <summary>What training computes with: numbers of 32 bits.</summary>
    private const double Largest = float.MaxValue;

    private static void RequireWithin(double value, double max, string name) => Require(value >= 0 && value <= max, value, name, $"0 to {max}");

    private static void Require(bool holds, double value, string name, string expected)
    {
        if (!holds)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}, expected {expected}.");
        }
    }
}
