using System.Globalization;
using System.Text;

namespace Nibble.Cli.Rendering;

/// <summary>A file that takes lines, each with its time. Lines are written at once, so that nothing is missing if the process dies.</summary>
internal sealed class LogFile : TextWriter
{
    private readonly StreamWriter file;
    private readonly Lock gate = new();

    /// <summary>Opens a file to append to.</summary>
    /// <exception cref="NibbleException">The file cannot be written.</exception>
    public LogFile(string path)
        : base(CultureInfo.InvariantCulture)
    {
        try
        {
            file = new StreamWriter(path, append: true) { AutoFlush = true };
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new NibbleException($"{path}: the log cannot be written: {exception.Message}", exception);
        }
    }

    /// <inheritdoc/>
    public override Encoding Encoding => file.Encoding;

    /// <inheritdoc/>
    public override void WriteLine(string? value)
    {
        lock (gate)
        {
            try
            {
                file.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{DateTimeOffset.Now:yyyy-MM-dd HH:mm:ss} {value}"));
            }
            catch (IOException)
            {
                // A full disk must not end work that has its own place.
            }
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            file.Dispose();
        }

        base.Dispose(disposing);
    }
}
