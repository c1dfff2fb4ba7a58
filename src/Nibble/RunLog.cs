using Microsoft.Extensions.Logging;

namespace Nibble;

/// <summary>What runs tell a log.</summary>
internal static partial class RunLog
{
    /// <summary>Tells what the user should know although the run goes on.</summary>
    [LoggerMessage(EventId = 1, EventName = "Advice", Level = LogLevel.Warning, Message = "{Advice}")]
    public static partial void Advise(this ILogger logger, string advice);
}
