using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>Options for reading data.</summary>
/// <param name="MaxLength">
/// The maximum number of tokens per text, special tokens included, at least 3. Longer texts are cut. A model with a lower maximum cuts them further.
/// Default: 128.
/// </param>
public sealed record ReadOptions(int MaxLength = ReadOptions.DefaultLength)
{
    /// <summary>The default of <see cref="MaxLength"/>.</summary>
    public const int DefaultLength = 128;
}

/// <summary>Data that a task has read.</summary>
public interface ITaskData : ICalibrationData
{
    /// <summary>The number of texts, pairs or tokens.</summary>
    long Count { get; }

    /// <summary>Notes about the data for the user, one sentence each.</summary>
    IReadOnlyList<string> Notes { get; }

    /// <summary>A hash of everything that training and scoring depend on.</summary>
    string Hash { get; }

    /// <summary>The data in training order.</summary>
    /// <param name="batchSize">Windows or texts per step.</param>
    /// <param name="sequenceLength">Tokens per window.</param>
    /// <param name="seed">The seed of the order.</param>
    ITrainingBatches Batches(int batchSize, int sequenceLength, long seed);

    /// <summary>The number of pieces: windows of a given length, texts or pairs.</summary>
    /// <param name="length">Tokens per window.</param>
    int CountPieces(int length);

    /// <summary>A range of the pieces.</summary>
    /// <param name="first">The index of the first piece.</param>
    /// <param name="count">The number of pieces.</param>
    /// <param name="length">Tokens per window.</param>
    ITaskData Take(int first, int count, int length);

    /// <summary>Splits off the last pieces.</summary>
    /// <param name="count">The number of pieces.</param>
    /// <param name="length">Tokens per window.</param>
    (ITaskData Beginning, ITaskData End) Cut(int count, int length);

    /// <summary>Splits off held-out data, which is evaluated while the model trains on the rest.</summary>
    /// <param name="sequenceLength">Tokens per window.</param>
    /// <param name="seed">The seed that selects the held-out texts. For one running text, its end is held out.</param>
    /// <exception cref="NibbleException">There are too few data to split.</exception>
    (ITaskData Training, ITaskData HeldOut) Split(int sequenceLength, long seed);
}

/// <summary>The batches of a training run. Each depends only on its step and the seed, so that a run can resume anywhere.</summary>
public interface ITrainingBatches
{
    /// <summary>The number of steps for one pass over the data.</summary>
    double StepsPerEpoch { get; }

    /// <summary>Part of the batch of a step.</summary>
    /// <param name="step">The step, from 1.</param>
    /// <param name="part">The part, from 0.</param>
    /// <param name="parts">The number of parts per batch. It divides the batch size.</param>
    TrainingBatch At(int step, int part, int parts);

    /// <summary>One pass over the data in order.</summary>
    /// <param name="rows">Windows or texts per batch.</param>
    IEnumerable<TrainingBatch> InOrder(int rows);
}

/// <summary>The data of a training step.</summary>
/// <param name="Input">The tokens.</param>
/// <param name="Targets">The correct answers. Null for data without targets.</param>
/// <param name="Keys">A number per row that identifies it in these data: equal numbers mean equal rows.</param>
public sealed record TrainingBatch(ModelBatch Input, Tensor? Targets, int[] Keys);
