using Microsoft.Extensions.Logging;

namespace Nibble.Onnx.Serving;

/// <summary>Log messages of models that serve.</summary>
internal static partial class ServingLog
{
    /// <summary>Logs how many texts of a call were cut.</summary>
    [LoggerMessage(EventId = 2, EventName = "Cut", Level = LogLevel.Warning, Message = "{Cut} of {Texts} texts are longer than {Length} tokens and were cut")]
    public static partial void Cut(this ILogger logger, int cut, int texts, int length);
}
