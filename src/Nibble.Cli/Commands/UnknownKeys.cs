using Nibble.Formats.HuggingFace;
using Nibble.Models;

namespace Nibble.Cli.Commands;

/// <summary>Warns about unknown keys in a model's configuration, and about parts of it that are left out.</summary>
internal static class UnknownKeys
{
    /// <summary>Warns about them for every model folder on a command line.</summary>
    /// <param name="host">Takes the warnings.</param>
    /// <param name="words">The arguments of the command line.</param>
    public static void Warn(CommandHost host, IEnumerable<string> words)
    {
        foreach (var folder in words.Distinct().Where(word => File.Exists(Path.Combine(word, Checkpoint.ConfigName))))
        {
            if (In(folder) is { } sentence)
            {
                host.Warn(sentence);
            }
        }
    }

    /// <summary>A sentence about the unknown keys of a folder, and about parts of its model that are left out; null if there are none.</summary>
    public static string? In(string folder)
    {
        var path = Path.Combine(folder, Checkpoint.ConfigName);
        try
        {
            var keys = ConfigKeys.Unknown(Checkpoint.ReadConfig(path), path);
            var ignored = keys.Count == 0 ? null : $"{path}: ignored the unknown keys {string.Join(", ", keys)}; if they change what the model "
                + "computes, the results do not reflect that";
            return string.Join(". ", ((string?[])[TextPart.Omitted(folder), ignored]).OfType<string>()) is { Length: > 0 } sentences ? sentences : null;
        }
        catch (NibbleException)
        {
            // The command itself reports what it cannot use.
            return null;
        }
    }
}
