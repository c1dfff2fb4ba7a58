using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>Samples joined along the first axis. Those of different shapes, such as texts of different lengths, are not joined.</summary>
internal sealed class BatchedSource : ISampleSource
{
    private readonly ISampleSource source;
    private readonly IReadOnlyList<GraphInput> inputs;
    private readonly int size;

    /// <summary>Batches.</summary>
    /// <param name="source">The samples.</param>
    /// <param name="inputs">The inputs of the model. Those without a free batch axis must have the same values in all samples.</param>
    /// <param name="size">The most samples per batch.</param>
    /// <exception cref="NibbleException">No input has a free batch axis.</exception>
    public BatchedSource(ISampleSource source, IReadOnlyList<GraphInput> inputs, int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        if (size > 1 && !inputs.Any(input => input.HasFreeBatch))
        {
            throw new NibbleException($"The model takes no batches of {size}: no input has a free first axis ("
                + $"{string.Join(", ", inputs.Select(input => $"'{input.Name}' is {input.Text}"))}). Use batches of 1, or export the model with "
                + "a free batch size");
        }

        (this.source, this.inputs, this.size) = (source, inputs, size);
    }

    /// <inheritdoc/>
    public long? Count => size == 1 ? source.Count
        : inputs.All(input => input.Shape.Skip(1).All(axis => axis is not null)) ? (source.Count + size - 1) / size : null;

    /// <inheritdoc/>
    public string Description => size == 1 ? source.Description : $"{source.Description}, in batches of {size}";

    /// <inheritdoc/>
    public IEnumerable<IReadOnlyList<NamedOnnxValue>> Samples()
    {
        var batch = new List<IReadOnlyList<NamedOnnxValue>>();
        foreach (var sample in source.Samples())
        {
            if (batch.Count == size || (batch.Count > 0 && !CanJoin(batch[0], sample)))
            {
                yield return Join(batch);
                batch.Clear();
            }

            batch.Add(sample);
        }

        if (batch.Count > 0)
        {
            yield return Join(batch);
        }
    }

    private static bool CanJoin(IReadOnlyList<NamedOnnxValue> first, IReadOnlyList<NamedOnnxValue> second) =>
        first.Count == second.Count && first.All(value => second.FirstOrDefault(other => other.Name == value.Name) is { } match
            && TensorKind.Of(value).ShapeOf(value).Skip(1).SequenceEqual(TensorKind.Of(match).ShapeOf(match).Skip(1)));

    private IReadOnlyList<NamedOnnxValue> Join(List<IReadOnlyList<NamedOnnxValue>> batch)
    {
        if (batch.Count == 1)
        {
            return batch[0];
        }

        var joined = new List<NamedOnnxValue>();
        foreach (var name in batch[0].Select(value => value.Name))
        {
            var values = batch.ConvertAll(sample => sample.First(value => value.Name == name));
            var kind = TensorKind.Of(values[0]);
            if (GraphInputs.Find(inputs, name, Description).HasFreeBatch)
            {
                joined.Add(kind.Concatenate(values));
                continue;
            }

            joined.Add(values.TrueForAll(value => kind.HaveSameElements(values[0], value)) ? values[0]
                : throw new NibbleException($"{Description}: input '{name}' differs between samples and has no free first axis to join it along. "
                    + "Use batches of 1"));
        }

        return joined;
    }
}
