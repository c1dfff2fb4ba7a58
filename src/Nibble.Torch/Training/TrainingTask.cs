using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>Parameters that share a learning rate.</summary>
/// <param name="Name">What they are called in checkpoints, unique in a task.</param>
/// <param name="Parameters">The parameters, in an order that is the same in every run.</param>
/// <param name="LearningRate">AdamW's peak learning rate, 0 or more.</param>
/// <param name="WeightDecay">AdamW's decoupled weight decay, 0 or more.</param>
internal sealed record ParameterGroup(string Name, IReadOnlyList<Parameter> Parameters, double LearningRate, double WeightDecay)
{
    /// <summary>Whether the moving average of the weights, where the settings ask for one, takes the place of these in the end.</summary>
    public bool Averaged { get; init; } = true;
}

/// <summary>What training changes besides parameters, such as an observed range: a checkpoint has to hold it.</summary>
internal interface ITrainingState
{
    /// <summary>All of it, as numbers whose count depends on nothing that training changes.</summary>
    float[] Save();

    /// <summary>Takes back what <see cref="Save"/> gave.</summary>
    /// <exception cref="NibbleException">The numbers are not such a state.</exception>
    void Load(float[] values);
}

/// <summary>What a <see cref="TrainingLoop"/> trains.</summary>
/// <param name="Groups">The parameters.</param>
/// <param name="Loss">
/// The mean loss, a scalar tensor with a gradient, of a part of a step's batch: (step from 1, part from 0). It has to depend on these two
/// numbers, the parameters and the state alone, so that an interrupted run can go on.
/// </param>
internal sealed record TrainingTask(IReadOnlyList<ParameterGroup> Groups, Func<int, int, Tensor> Loss)
{
    /// <summary>What changes besides the parameters.</summary>
    public IReadOnlyList<ITrainingState> States { get; init; } = [];

    /// <summary>Called before each step with its number, and once with the last step that was done when an interrupted run goes on; null does
    /// nothing.</summary>
    public Action<int>? BeginStep { get; init; }

    /// <summary>The mean loss on data held out of training, called without gradients; null where there is none.</summary>
    public Func<double>? HeldOutLoss { get; init; }

    /// <summary>The first step of the final form of the quantization: losses before it say nothing about those after it.</summary>
    public int SettledStep { get; init; } = 1;

    /// <summary>Whether the loss is the negative log-likelihood of tokens, so that its exponential is a perplexity.</summary>
    public bool IsLogLikelihood { get; init; }

    /// <summary>Tokens, or other units, in a step; 0 where nothing counts them.</summary>
    public int TokensPerStep { get; init; }
}

/// <summary>A loss of training.</summary>
/// <param name="Step">The step, from 1.</param>
/// <param name="Loss">Nats per token: on the step's batch, or on held-out text after the step.</param>
public readonly record struct TrainingPoint(int Step, double Loss);

/// <summary>Where and when a training saves itself.</summary>
/// <param name="Path">The file, replaced by each newer checkpoint; one that exists is where training goes on.</param>
/// <param name="Every">Steps between two checkpoints, at least 1; null saves after about each minute.</param>
public sealed record CheckpointOptions(string Path, int? Every = null)
{
    /// <summary>The time between two checkpoints where no number of steps is given.</summary>
    public static TimeSpan Interval { get; } = TimeSpan.FromMinutes(1);
}
