using System.Globalization;

namespace Nibble.Onnx.Quantization.Estimation;

/// <summary>The most memory that a quantization takes, and the parts in which its values are watched so that it takes no more than it may.</summary>
/// <remarks>
/// Samples are read one by one, so that their number does not matter. What matters is the model, how often it is loaded at a time, and the values that are
/// outputs of one run. The factors are upper bounds, measured on convolutional networks of 0.1 to 45 MB.
/// </remarks>
internal sealed class MemoryPlan
{
    /// <summary>What a session takes while it is loaded: the file, its tensors, and the tensors as its kernels want them.</summary>
    private const int SessionFactor = 3;

    /// <summary>The most sessions of quantized graphs at a time, once they are loaded.</summary>
    private const int QuantizedSessions = 4;

    /// <summary>What .NET takes for the tensors of the graphs: their bytes, their numbers, and what has not been collected yet.</summary>
    private const int ManagedFactor = 3;

    /// <summary>The least that the rest takes: code that is compiled, threads, buffers.</summary>
    private const long Rest = 128L << 20;

    private readonly ValueSizes? sizes;
    private readonly long partBytes;

    private MemoryPlan(ValueSizes? sizes, long partBytes, long peakBytes) => (this.sizes, this.partBytes, PeakBytes) = (sizes, partBytes, peakBytes);

    /// <summary>All values are watched at once.</summary>
    public static MemoryPlan Unlimited { get; } = new(null, long.MaxValue, 0);

    /// <summary>The most bytes that the process will hold.</summary>
    public long PeakBytes { get; }

    /// <summary>Plans a quantization.</summary>
    /// <param name="needs">What it needs.</param>
    /// <param name="sizes">The sizes of values.</param>
    /// <param name="limit">The most bytes that the process may hold. Null for any number.</param>
    /// <exception cref="NibbleException">The limit is too low.</exception>
    public static MemoryPlan Of(MemoryNeeds needs, ValueSizes sizes, long? limit)
    {
        ArgumentNullException.ThrowIfNull(needs);
        ArgumentNullException.ThrowIfNull(sizes);
        var fixedBytes = needs.ProcessBytes + (SessionFactor * needs.ModelBytes) + (QuantizedSessions * needs.QuantizedBytes)
            + (ManagedFactor * (needs.ModelBytes + needs.KeptGraphBytes)) + needs.KeptBytes + (4 * sizes.LiveBytes) + Rest;
        var all = needs.Watched.Sum(sizes.Of);
        var largest = needs.Watched.Select(sizes.Of).DefaultIfEmpty().Max();
        var room = limit is { } most ? Math.Max(most - fixedBytes, 0) / needs.Copies : long.MaxValue;
        if (room < largest || (limit < fixedBytes))
        {
            throw new NibbleException(string.Create(
                CultureInfo.InvariantCulture,
                $"The quantization takes up to {Megabytes(fixedBytes + (needs.Copies * largest))} MB of memory, even if it watches values one at a time, and "
                + $"only {limit / 1_000_000} MB are allowed. Allow more, or use smaller inputs."));
        }

        var part = Math.Min(room, all);
        return new MemoryPlan(sizes, part, fixedBytes + (needs.Copies * part));
    }

    /// <summary>Divides values into parts that are watched one after the other, in their order.</summary>
    /// <param name="values">The values.</param>
    /// <returns>At least one part. It is empty if there are no values.</returns>
    public IReadOnlyList<IReadOnlyList<string>> Parts(IEnumerable<string> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        var parts = new List<List<string>> { new() };
        var bytes = 0L;
        foreach (var value in values)
        {
            var size = sizes?.Of(value) ?? 0;
            if (parts[^1].Count > 0 && bytes + size > partBytes)
            {
                parts.Add([]);
                bytes = 0;
            }

            parts[^1].Add(value);
            bytes += size;
        }

        return parts;
    }

    private static long Megabytes(long bytes) => (bytes + 999_999) / 1_000_000;
}

/// <summary>What a quantization needs memory for.</summary>
/// <param name="ProcessBytes">What the process holds once the model is prepared.</param>
/// <param name="ModelBytes">The float models that are loaded at a time.</param>
/// <param name="QuantizedBytes">The largest quantized model.</param>
/// <param name="KeptGraphBytes">All quantized models that are kept at a time.</param>
/// <param name="KeptBytes">What else is kept: the states of observers, and samples.</param>
/// <param name="Watched">The values that are watched.</param>
/// <param name="Copies">How many graphs are watched at a time.</param>
internal sealed record MemoryNeeds(
    long ProcessBytes, long ModelBytes, long QuantizedBytes, long KeptGraphBytes, long KeptBytes, IReadOnlyList<string> Watched, int Copies);
