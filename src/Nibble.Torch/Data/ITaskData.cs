using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>How data are read.</summary>
/// <param name="MaxLength">Tokens to which texts are cut, their marks included, at least 3; a model that takes fewer cuts further.</param>
public sealed record ReadOptions(int MaxLength = ReadOptions.UsualLength)
{
    /// <summary>Tokens to which texts are cut where nothing else is asked for.</summary>
    public const int UsualLength = 128;
}

/// <summary>Data that a task has read.</summary>
public interface ITaskData : ICalibrationData
{
    /// <summary>Texts, pairs or tokens that there are.</summary>
    long Count { get; }

    /// <summary>What the user should know of the data, a sentence each.</summary>
    IReadOnlyList<string> Notes { get; }

    /// <summary>A hash of all that training and scoring depend on.</summary>
    string Hash { get; }

    /// <summary>The data in the order of a training.</summary>
    /// <param name="batchSize">Windows or texts in a step.</param>
    /// <param name="sequenceLength">Tokens in a window.</param>
    /// <param name="seed">Drives the order.</param>
    ITrainingBatches Batches(int batchSize, int sequenceLength, long seed);

    /// <summary>Windows of a length that there are, or texts or pairs.</summary>
    /// <param name="length">Tokens in a window.</param>
    int CountPieces(int length);

    /// <summary>Some of the pieces.</summary>
    /// <param name="first">The first of them.</param>
    /// <param name="count">How many.</param>
    /// <param name="length">Tokens in a window.</param>
    ITaskData Take(int first, int count, int length);

    /// <summary>Cuts the last pieces off.</summary>
    /// <param name="count">How many.</param>
    /// <param name="length">Tokens in a window.</param>
    (ITaskData Beginning, ITaskData End) Cut(int count, int length);

    /// <summary>Holds a part back, to look at while training goes over the rest.</summary>
    /// <param name="sequenceLength">Tokens in a window.</param>
    /// <param name="seed">Drives which texts are held back; of one long text it is the end.</param>
    /// <exception cref="NibbleException">There is too little to divide.</exception>
    (ITaskData Training, ITaskData HeldOut) Split(int sequenceLength, long seed);
}

/// <summary>The batches of a training run, each known from its step and the seed alone, so that a run can resume anywhere.</summary>
public interface ITrainingBatches
{
    /// <summary>How many steps go over all of the data once.</summary>
    double StepsPerEpoch { get; }

    /// <summary>A part of a step's batch.</summary>
    /// <param name="step">The step, from 1.</param>
    /// <param name="part">The part, from 0.</param>
    /// <param name="parts">How many parts a batch has; divides the batch.</param>
    TrainingBatch At(int step, int part, int parts);

    /// <summary>All of the data once, a few at a time.</summary>
    /// <param name="rows">Windows or texts at a time.</param>
    IEnumerable<TrainingBatch> InOrder(int rows);
}

/// <summary>What a step trains on.</summary>
/// <param name="Input">The tokens.</param>
/// <param name="Targets">What is right; null for data without.</param>
/// <param name="Keys">A number for each row that names what it is in these data: equal numbers are equal rows.</param>
public sealed record TrainingBatch(ModelBatch Input, Tensor? Targets, int[] Keys);
