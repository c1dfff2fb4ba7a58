using Microsoft.Extensions.Logging;

namespace Nibble.Tests.Shared;

/// <summary>Keeps what it is told.</summary>
internal sealed class ListLogger(ICollection<string> told) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        told.Add(formatter(state, exception));
}
