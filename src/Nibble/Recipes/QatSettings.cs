namespace Nibble.Recipes;

/// <summary>How the gradient passes through a weight's fake quantizer.</summary>
public enum GradientEstimator
{
    /// <summary>Straight-through, with ranges recomputed from the weights at every step (Bengio et al. 2013; Jacob et al. 2018).</summary>
    StraightThrough,

    /// <summary>Straight-through, with a learned scale (LSQ, Esser et al. 2020).</summary>
    LearnedScale,

    /// <summary>As <see cref="LearnedScale"/>, with a learned zero point for asymmetric schemes (LSQ+, Bhalgat et al. 2020).</summary>
    LearnedScaleAndOffset,
}

/// <summary>How the gradient passes through the fake quantizer of a static activation. Per-token activations have nothing to learn.</summary>
public enum ActivationEstimator
{
    /// <summary>Straight-through inside the range. An observer updates the range until it is frozen.</summary>
    StraightThrough,

    /// <summary>The scale is learned (LSQ, Esser et al. 2020).</summary>
    LearnedScale,

    /// <summary>Scale and zero point are learned (LSQ+, Bhalgat et al. 2020).</summary>
    LearnedScaleAndOffset,

    /// <summary>The upper end of a range that starts at zero is learned (PACT, Choi et al. 2018). Suits the outputs of a ReLU.</summary>
    ClippedActivation,
}

/// <summary>What training changes.</summary>
public enum TrainingMode
{
    /// <summary>Weights, scales and all float parameters, end to end.</summary>
    Full,

    /// <summary>First the weights and scales of one block after another, against the float block's outputs, then only the scales, end to end
    /// (EfficientQAT, Chen et al. 2024).</summary>
    BlockWise,

    /// <summary>Only the scales, end to end. Codes keep their starting values (EfficientQAT's second phase).</summary>
    Scales,

    /// <summary>Low-rank adapters inside the fake quantizer, merged onto the grid at the end (LoRA, Hu et al. 2022).</summary>
    Adapters,

    /// <summary>As <see cref="Adapters"/>, with the weights held in 4-bit NormalFloat during training (QLoRA, Dettmers et al. 2023).</summary>
    AdaptersOnNormalFloat,
}

/// <summary>The arithmetic of the forward and backward pass.</summary>
public enum TrainingPrecision
{
    /// <summary>IEEE 754 binary32.</summary>
    Float32,

    /// <summary>bfloat16 products, on devices that support them. Parameters stay binary32.</summary>
    BFloat16,
}

/// <summary>What is learned from the float model rather than from the text only (Hinton et al. 2015).</summary>
public sealed record DistillationSettings
{
    /// <summary>The share of the loss for the divergence from the teacher's predictions, 0 to 1. Cross-entropy takes the rest. Default: 1.</summary>
    public double Weight { get; init; } = 1;

    /// <summary>The divisor of both models' logits before they are compared, above 0. Default: 1.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>The weight of the mean squared error between both models' block outputs, relative to the teacher's mean square. Default: 0.</summary>
    public double Hidden { get; init; }

    /// <summary>Steps that the float model is first trained on the text, with the student's rates, batches and schedule. Default: 0, no training.</summary>
    /// <remarks>Training on the text improves a model while quantization degrades it. A teacher that has not seen the text holds the student back.</remarks>
    public int TeacherSteps { get; init; }
}

/// <summary>When parts of the quantization are switched on or off during training. Shares are of all steps, 0 to 1.</summary>
public sealed record QatSchedule
{
    /// <summary>The share of the steps trained in float, before anything is quantized. Default: 0.</summary>
    public double FloatShare { get; init; }

    /// <summary>The share of the steps before activations are quantized. Default: 0.</summary>
    public double ActivationDelay { get; init; }

    /// <summary>The share of the steps after which observed activation ranges no longer move. Default: 0.5.</summary>
    public double ObserverFreeze { get; init; } = 0.5;

    /// <summary>The share of the steps after which batch normalization uses its running statistics and no longer updates them. Default: 0.5.</summary>
    public double BatchNormFreeze { get; init; } = 0.5;

    /// <summary>The share of the steps over which layers are quantized one after another, the last layers last; 0 quantizes all at once. Default: 0.</summary>
    public double Gradual { get; init; }

    /// <summary>The starting bit width. It is halved, in equal parts of <see cref="AnnealingShare"/>, down to the scheme's bit width (8, 4, 2). Default: 0, the
    /// scheme's bit width.</summary>
    public int AnnealFrom { get; init; }

    /// <summary>The share of the steps spent on wider weights in total. Default: 0.5.</summary>
    public double AnnealingShare { get; init; } = 0.5;
}

/// <summary>How quantization-aware training runs.</summary>
public sealed record QatSettings
{
    /// <summary>How the gradient passes through the weights' fake quantizers. Default: <see cref="GradientEstimator.LearnedScale"/>.</summary>
    public GradientEstimator Estimator { get; init; } = GradientEstimator.LearnedScale;

    /// <summary>How the gradient passes through those of static activations. Default: <see cref="ActivationEstimator.LearnedScale"/>.</summary>
    public ActivationEstimator Activations { get; init; } = ActivationEstimator.LearnedScale;

    /// <summary>What training changes. Default: <see cref="TrainingMode.Full"/>.</summary>
    public TrainingMode Mode { get; init; }

    /// <summary>The post-training algorithms whose solution training starts from. Default: round to nearest, which starts from the float weights.</summary>
    public WeightAlgorithms Start { get; init; } = WeightAlgorithms.RoundToNearest;

    /// <summary>Optimizer steps, at least 1. Default: 300.</summary>
    public int Steps { get; init; } = 300;

    /// <summary>Sequences per step, at least 1. Default: 4.</summary>
    public int BatchSize { get; init; } = 4;

    /// <summary>Tokens per sequence, at least 2. Default: 512.</summary>
    public int SequenceLength { get; init; } = 512;

    /// <summary>Parts of a step's batch, whose gradients are summed: less memory, the same result. Divides the batch size. Default: 1.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>Whether the backward pass recomputes a block's activations instead of keeping them: less memory, about a third more time.
    /// Default: false.</summary>
    public bool Recompute { get; init; }

    /// <summary>The arithmetic of the forward and backward pass. Default: <see cref="TrainingPrecision.Float32"/>.</summary>
    public TrainingPrecision Precision { get; init; }

    /// <summary>AdamW's peak learning rate for the weights. Default: 0.001.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>AdamW's peak learning rate for learned scales, relative to each scale's starting value. Default: 0.001.</summary>
    public double ScaleLearningRate { get; init; } = 1e-3;

    /// <summary>AdamW's peak learning rate for float parameters: embeddings, norms and biases. Default: null, which takes <see cref="LearningRate"/>, or trains
    /// none of them if post-training quantization chooses all weights.</summary>
    public double? FloatLearningRate { get; init; }

    /// <summary>AdamW's decoupled weight decay for the matrices. Default: 0.</summary>
    public double WeightDecay { get; init; }

    /// <summary>The share of the steps over which the learning rate rises from 0 to its peak, 0 to 1. It then falls along a cosine. Default: 0.05.</summary>
    public double WarmUp { get; init; } = 0.05;

    /// <summary>The final learning rate, as a share of its peak, 0 to 1. Default: 0.01.</summary>
    public double FinalLearningRate { get; init; } = 0.01;

    /// <summary>The greatest norm of the gradient. Longer gradients are scaled down to it. Default: 1.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>The decay of the moving average of the weights that is converted at the end, 0 to below 1. Default: 0, which converts the last step.</summary>
    public double AverageDecay { get; init; }

    /// <summary>The weight of the penalty that pulls weights towards the middle of their step, which damps oscillation (Nagel et al. 2022). It grows along a
    /// cosine. Default: 0, no penalty.</summary>
    public double Dampening { get; init; }

    /// <summary>What is learned from the float model. Default: null, which learns only from the text.</summary>
    public DistillationSettings? Distillation { get; init; }

    /// <summary>When parts of the quantization are switched on or off.</summary>
    public QatSchedule Schedule { get; init; } = new();

    /// <summary>Steps between evaluations on text held out of training. Default: 0, which trains on all text and evaluates nothing.</summary>
    public int EvaluateEvery { get; init; }

    /// <summary>Evaluations without a better loss before training stops early and restores the best parameters. Default: 0, which never stops early.</summary>
    public int Patience { get; init; }

    /// <summary>Adapters: columns of the low-rank factors, at least 1. Default: 16.</summary>
    public int AdapterRank { get; init; } = 16;

    /// <summary>Block-wise training: steps per block, at least 1. <see cref="Steps"/> then counts the end-to-end steps of the scales. Default: 200.</summary>
    public int BlockSteps { get; init; } = 200;

    /// <summary>The presets' settings for a weight bit width. At lower bit widths, scales and weights have to move faster.</summary>
    /// <param name="bits">Bits of a weight, 2 to 8.</param>
    public static QatSettings ForWidth(int bits) => bits switch
    {
        <= 2 => new QatSettings { LearningRate = 2e-3, FloatLearningRate = 1e-3, ScaleLearningRate = 1e-2 },
        3 => new QatSettings { ScaleLearningRate = 5e-3 },
        _ => new QatSettings(),
    };

    /// <summary>Settings for a pretrained encoder: learning rates of fine-tuning, larger batches of short texts, input ranges learned with their offsets, and
    /// the float model as the teacher of each block and of the whole model.</summary>
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

    /// <summary>The presets' settings for frozen weights, where only activation ranges and float parameters are trained. These are few, so they need few steps
    /// and high learning rates.</summary>
    public static QatSettings ForRanges { get; } =
        new() { Activations = ActivationEstimator.LearnedScaleAndOffset, Steps = 90, FloatLearningRate = 5e-3, ScaleLearningRate = 3e-2 };

    /// <summary>Rejects invalid settings.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A setting is outside its documented range.</exception>
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

    /// <summary>The largest value that training can use: it computes in 32 bits.</summary>
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
