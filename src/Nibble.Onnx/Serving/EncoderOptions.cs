using Microsoft.Extensions.Logging;

namespace Nibble.Onnx.Serving;

/// <summary>Options of <see cref="SentenceEncoder"/> and <see cref="TextClassifier"/>.</summary>
public sealed record EncoderOptions
{
    /// <summary>
    /// The number of threads that one call computes with, at least 1 and limited to the number of processors. With 1, every call computes on the thread that
    /// makes it, so that concurrent calls do not share threads. Default: null, one per processor.
    /// </summary>
    public int? Threads { get; init; }

    /// <summary>The number of texts that are computed together, at least 1. Texts of similar length share a batch. Default: 32.</summary>
    public int BatchSize { get; init; } = 32;

    /// <summary>
    /// The maximum number of tokens per text, special tokens included, at least 3. Longer texts are cut. A model with a lower maximum cuts them further.
    /// Default: null, the model's maximum.
    /// </summary>
    public int? MaxLength { get; init; }

    /// <summary>Receives a warning with the number of texts for every call that cuts some. Default: null, no logging.</summary>
    public ILogger? Logger { get; init; }
}
