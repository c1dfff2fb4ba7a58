using Microsoft.Extensions.Logging;

namespace Nibble;

/// <summary>Log messages of runs.</summary>
internal static partial class RunLog
{
    /// <summary>Logs a warning that does not stop the run.</summary>
    [LoggerMessage(EventId = 1, EventName = "Advice", Level = LogLevel.Warning, Message = "{Advice}")]
    public static partial void Advise(this ILogger logger, string advice);
}
