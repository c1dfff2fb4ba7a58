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
}
