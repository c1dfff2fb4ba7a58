using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Engine;

/// <summary>The keys and values of the tokens that a decoder has processed.</summary>
public sealed class DecoderCache : IDisposable
{
    private IReadOnlyList<OrtValue> values = [];

    /// <summary>The number of cached tokens.</summary>
    public int Length { get; private set; }

    internal IReadOnlyList<OrtValue> Values => values;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var value in values)
        {
            value.Dispose();
        }

        values = [];
        Length = 0;
    }

    /// <summary>Initializes an empty cache with values for zero tokens.</summary>
    internal void Start(Func<IEnumerable<OrtValue>> create) => values = Length == 0 && values.Count == 0 ? [.. create()] : values;

    /// <summary>Replaces the values with ones that hold more tokens.</summary>
    internal void Replace(IReadOnlyList<OrtValue> grown, int length)
    {
        Dispose();
        values = grown;
        Length = length;
    }
}
