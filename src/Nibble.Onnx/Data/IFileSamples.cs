using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>The samples of one file, or of a folder with files of one kind.</summary>
internal interface IFileSamples
{
    /// <summary>The number of samples. Null if only reading them shows it.</summary>
    long? Count { get; }

    /// <summary>What the samples are, for reports.</summary>
    string Description { get; }

    /// <summary>Reads the samples from the start.</summary>
    IEnumerable<PlacedSample> Read();
}

/// <summary>A sample and where it is from.</summary>
/// <param name="Values">The tensors.</param>
/// <param name="Place">The file, and the place in it if it holds more than one sample.</param>
internal readonly record struct PlacedSample(IReadOnlyList<NamedOnnxValue> Values, string Place);
