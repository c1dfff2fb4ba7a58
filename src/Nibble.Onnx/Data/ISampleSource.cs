using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>Samples for the inputs of a model, in an order that never changes. They are read when they are asked for and not kept.</summary>
internal interface ISampleSource
{
    /// <summary>The number of samples. Null if only reading them shows it.</summary>
    long? Count { get; }

    /// <summary>What the samples are, for reports.</summary>
    string Description { get; }

    /// <summary>Reads the samples from the start. Each has one tensor per input of the model, apart from states.</summary>
    /// <exception cref="NibbleException">While enumerating: a file is broken, or a sample does not fit the inputs.</exception>
    IEnumerable<IReadOnlyList<NamedOnnxValue>> Samples();
}
