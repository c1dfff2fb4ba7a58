using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>Random values instead of data, for measuring speed: ranges of activations found with them are not those of real data.</summary>
internal sealed class RandomSource : ISampleSource
{
    private readonly (GraphInput Input, TensorKind Kind, int[] Sizes)[] inputs;
    private readonly int count;
    private readonly long seed;
    private readonly IReadOnlyList<NamedOnnxValue> constants;

    /// <summary>Random values.</summary>
    /// <param name="inputs">The inputs. A free batch axis is 1.</param>
    /// <param name="count">The number of samples.</param>
    /// <param name="seed">The same seed gives the same values.</param>
    /// <param name="constants">Inputs that are the same in all samples.</param>
    /// <exception cref="NibbleException">An input has another free size, or an unsupported type.</exception>
    public RandomSource(IReadOnlyList<GraphInput> inputs, int count, long seed, IReadOnlyList<NamedOnnxValue>? constants = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        this.inputs = [.. inputs.Select(input => (input, TensorKind.Of(input), input.FixedSizes("random data")))];
        (this.count, this.seed, this.constants) = (count, seed, constants ?? []);
    }

    /// <inheritdoc/>
    public long? Count => count;

    /// <inheritdoc/>
    public string Description => $"random data, {count} {(count == 1 ? "sample" : "samples")}";

    /// <inheritdoc/>
    public IEnumerable<IReadOnlyList<NamedOnnxValue>> Samples()
    {
        var random = new Random(unchecked((int)(seed ^ (seed >> 32))));
        for (var i = 0; i < count; i++)
        {
            yield return [.. inputs.Select(input => Sample(input.Input, input.Kind, input.Sizes, random)), .. constants];
        }
    }

    private static NamedOnnxValue Sample(GraphInput input, TensorKind kind, int[] sizes, Random random)
    {
        var length = sizes.Aggregate(1, (product, size) => product * size);
        if (kind.IsFloat)
        {
            var normal = new double[length];
            for (var i = 0; i < length; i++)
            {
                // Box-Muller, with a first number above 0.
                normal[i] = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            }

            return kind.Create(input.Name, sizes, new ReadNumbers(normal), "random data");
        }

        // A mask without any 1 would hide a whole sequence, for which attention has no value.
        var isMask = input.Name.Contains("mask", StringComparison.OrdinalIgnoreCase);
        var isBinary = isMask || kind is TensorKind<bool> || input.Name.Contains("type_ids", StringComparison.OrdinalIgnoreCase);
        var integers = new long[length];
        for (var i = 0; i < length; i++)
        {
            integers[i] = isMask && i % sizes[^1] == 0 ? 1 : random.Next(isBinary ? 2 : 10);
        }

        return kind.Create(input.Name, sizes, new ReadNumbers(integers), "random data");
    }
}
