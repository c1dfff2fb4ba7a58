using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>Parameters that share a learning rate.</summary>
/// <param name="Name">Their name in checkpoints, unique within a task.</param>
/// <param name="Parameters">The parameters, in an order that is the same in every run.</param>
/// <param name="LearningRate">AdamW's peak learning rate, 0 or more.</param>
/// <param name="WeightDecay">AdamW's decoupled weight decay, 0 or more.</param>
internal sealed record ParameterGroup(string Name, IReadOnlyList<Parameter> Parameters, double LearningRate, double WeightDecay)
{
    /// <summary>Whether the moving average of the weights, if the settings use one, replaces these parameters at the end.</summary>
    public bool Averaged { get; init; } = true;
}

/// <summary>State that training changes besides parameters, for example an observed range. A checkpoint has to hold it.</summary>
internal interface ITrainingState
{
    /// <summary>The whole state as values. Their number does not depend on anything that training changes.</summary>
    float[] Save();

    /// <summary>Restores a state that <see cref="Save"/> returned.</summary>
    /// <exception cref="NibbleException">The values are not such a state.</exception>
    void Load(float[] values);
}

/// <summary>The work of a <see cref="TrainingLoop"/>.</summary>
/// <param name="Groups">The parameters.</param>
/// <param name="Loss">
/// The mean loss, a scalar tensor with a gradient, of a part of a step's batch: (step from 1, part from 0). It must depend only on these two numbers, the
/// parameters and the state, so that an interrupted run can resume.
/// </param>
internal sealed record TrainingTask(IReadOnlyList<ParameterGroup> Groups, Func<int, int, Tensor> Loss)
{
    /// <summary>The state that changes besides the parameters.</summary>
    public IReadOnlyList<ITrainingState> States { get; init; } = [];

    /// <summary>
    /// Called before each step with its number. When an interrupted run resumes, it is also called once with the last completed step. Null does nothing.
    /// </summary>
    public Action<int>? BeginStep { get; init; }

    /// <summary>The mean loss on held-out data, called without gradients. Null if there are none.</summary>
    public Func<double>? HeldOutLoss { get; init; }

    /// <summary>The first step with the final form of the quantization. Losses before it say nothing about those after it.</summary>
    public int SettledStep { get; init; } = 1;

    /// <summary>Whether the loss is the negative log-likelihood of tokens, so that its exponential is a perplexity.</summary>
    public bool IsLogLikelihood { get; init; }

    /// <summary>Tokens, or other units, per step. 0 if they are not counted.</summary>
    public int TokensPerStep { get; init; }
}

/// <summary>A training loss.</summary>
/// <param name="Step">The step, from 1.</param>
/// <param name="Loss">The loss, in nats per token for text: on the step's batch, or on held-out data after the step.</param>
public readonly record struct TrainingPoint(int Step, double Loss);

/// <summary>Where and how often to save training checkpoints.</summary>
/// <param name="Path">The file. Each newer checkpoint replaces it. Training resumes from it if it exists.</param>
/// <param name="Every">Steps between two checkpoints, at least 1. Default: null, about one checkpoint per minute.</param>
public sealed record CheckpointOptions(string Path, int? Every = null)
{
    /// <summary>The time between two checkpoints if no number of steps is specified.</summary>
    public static TimeSpan Interval { get; } = TimeSpan.FromMinutes(1);
}
