using Nibble.Formats.HuggingFace;
using Nibble.Models;

namespace Nibble.Cli.Commands;

/// <summary>Tells of keys of a model's configuration that nothing is known about.</summary>
internal static class UnknownKeys
{
    /// <summary>Warns of them in every folder of a model that a command line names.</summary>
    /// <param name="host">Where to warn.</param>
    /// <param name="words">The words of the command line.</param>
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

    /// <summary>A sentence about those of a folder; null where there are none.</summary>
    public static string? In(string folder)
    {
        var path = Path.Combine(folder, Checkpoint.ConfigName);
        try
        {
            var keys = ConfigKeys.Unknown(Checkpoint.ReadConfig(path), path);
            return keys.Count == 0 ? null : $"{path}: nothing is known about {string.Join(", ", keys)}; if that changes what the model computes, all "
                + "results leave it out";
        }
        catch (NibbleException)
        {
            // The command itself refuses what it cannot use.
            return null;
        }
    }
}
