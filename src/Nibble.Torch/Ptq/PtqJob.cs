using System.Globalization;

namespace Nibble.Torch.Ptq;

/// <summary>The unfinished work of a PTQ run: its finished parts, and the activations to go on from.</summary>
/// <remarks>A run that is killed anywhere goes on from the last part whose successor's inputs are there.</remarks>
internal sealed class PtqJob(string output, IReadOnlyDictionary<string, string> identity, bool restart) : OutputJob(output, identity, restart)
{
    private const string StreamSuffix = ".bin";

    /// <summary>The folder of a finished part.</summary>
    public string Part(int number) => At(string.Create(CultureInfo.InvariantCulture, $"part-{number:D3}"));

    /// <summary>The file of a stream of activations that goes into a part.</summary>
    public string Stream(string name, int part) => At(string.Create(CultureInfo.InvariantCulture, $"{name}-{part:D3}{StreamSuffix}"));

    /// <summary>The first part that is still to be made.</summary>
    /// <param name="streams">The streams that a part needs; one whose inputs are gone has to be made again, with all after it.</param>
    /// <param name="inputsEnd">Parts from this number on need no inputs.</param>
    public int FirstUnfinished(IReadOnlyList<string> streams, int inputsEnd)
    {
        var next = 0;
        while (Directory.Exists(Part(next)))
        {
            next++;
        }

        while (next > 0 && next < inputsEnd && !streams.All(stream => File.Exists(Stream(stream, next))))
        {
            next--;
        }

        return next;
    }

    /// <summary>Removes what an interrupted run has left of parts that are made again, and all streams but those that go into the first of them.</summary>
    public void Discard(IReadOnlyList<string> streams, int fromPart)
    {
        var needed = streams.Select(stream => Stream(stream, fromPart)).ToHashSet(StringComparer.Ordinal);
        foreach (var stream in Directory.EnumerateFiles(Folder, $"*{StreamSuffix}*").Where(path => !needed.Contains(path)))
        {
            File.Delete(stream);
        }

        for (var number = fromPart; Directory.Exists(Part(number)); number++)
        {
            Directory.Delete(Part(number), recursive: true);
        }

        foreach (var leftover in Directory.EnumerateDirectories(Folder, "*.tmp-*"))
        {
            Directory.Delete(leftover, recursive: true);
        }
    }
}
