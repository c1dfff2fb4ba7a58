using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Engine;

/// <summary>The keys and values of the tokens that a decoder has seen.</summary>
public sealed class DecoderCache : IDisposable
{
    private IReadOnlyList<OrtValue> values = [];

    /// <summary>Tokens held.</summary>
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

    /// <summary>Gives an empty cache its values, which hold no token.</summary>
    internal void Start(Func<IEnumerable<OrtValue>> create) => values = Length == 0 && values.Count == 0 ? [.. create()] : values;

    /// <summary>Takes the values that hold more tokens.</summary>
    internal void Replace(IReadOnlyList<OrtValue> grown, int length)
    {
        Dispose();
        values = grown;
        Length = length;
    }
}
