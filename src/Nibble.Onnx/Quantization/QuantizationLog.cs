using Microsoft.Extensions.Logging;

namespace Nibble.Onnx.Quantization;

/// <summary>Log messages of the quantization of graphs.</summary>
internal static partial class QuantizationLog
{
    /// <summary>Logs that there are too few samples to hold some back.</summary>
    [LoggerMessage(
        EventId = 3, EventName = "NoneHeldBack", Level = LogLevel.Warning,
        Message = "Fewer than 5 samples: none is held back, so the comparison is on the samples of the calibration")]
    public static partial void NoneHeldBack(this ILogger logger);

    /// <summary>Logs that a transformation found nothing to do.</summary>
    [LoggerMessage(
        EventId = 4, EventName = "NothingTransformed", Level = LogLevel.Warning,
        Message = "The algorithm {Algorithm} changed nothing: no layer is suitable (most often: {Reason})")]
    public static partial void NothingTransformed(this ILogger logger, string algorithm, string reason);

    /// <summary>Logs that the mode that was chosen does not use a transformation.</summary>
    [LoggerMessage(
        EventId = 5, EventName = "NotTransformed", Level = LogLevel.Warning,
        Message = "The algorithms {Algorithms} have no effect on the result: they are for static mode, and the chosen mode is {Mode}")]
    public static partial void NotTransformed(this ILogger logger, string algorithms, string mode);
}
