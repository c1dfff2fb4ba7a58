using Nibble.Files;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Nibble.Torch.Ptq;

/// <summary>The unfinished work of a PTQ run: its finished parts, and the activations to go on from.</summary>
/// <remarks>A run that is killed anywhere goes on from the last part whose successor's inputs are there.</remarks>
internal sealed partial class PtqJob(string output, IReadOnlyDictionary<string, string> identity, bool restart) : OutputJob(output, identity, restart)
{
    /// <summary>The stream of what goes into a part behind quantized parts.</summary>
    public const string InputStream = "inputs";

    /// <summary>The stream of what goes into a part in the float model.</summary>
    public const string FloatStream = "floats";

    /// <summary>The folder of a finished part.</summary>
    public string Part(int number) => At(string.Create(CultureInfo.InvariantCulture, $"part-{number:D3}"));

    /// <summary>The file of a stream of activations that goes into a part.</summary>
    public string Stream(string name, int part) => At(string.Create(CultureInfo.InvariantCulture, $"{name}-{part:D3}.bin"));

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

    /// <summary>Refuses to begin, or to go on with, what the disk has no room for.</summary>
    /// <param name="artifact">Bytes of the artifact's tensors.</param>
    /// <param name="outside">Bytes of those that stand in no part.</param>
    /// <param name="parts">How many parts there will be.</param>
    /// <param name="streams">Bytes of all streams that go into one part.</param>
    /// <exception cref="IOException">The disk has not.</exception>
    public void RequireSpace(long artifact, long outside, int parts, long streams)
    {
        // The last part is made between what goes into it and what comes out; at the end the artifact stands beside its parts.
        var whole = artifact - outside;
        var most = Math.Max((whole * (parts - 1) / parts) + (2 * streams), whole + artifact);
        DiskSpace.Require(Folder, most - DiskSpace.Taken(Folder), "the unfinished work with the artifact");
    }

    /// <summary>Refuses finished parts that are no longer what was written.</summary>
    /// <param name="count">How many of them are finished.</param>
    /// <exception cref="DamagedFileException">One of them is damaged.</exception>
    public void RequireIntact(int count)
    {
        for (var number = 0; number < count; number++)
        {
            FolderChecksums.Require(Part(number), Remedy);
        }
    }

    /// <summary>Removes what an interrupted run has left of parts that are made again, and all streams but those that go into the first of them.</summary>
    public void Discard(IReadOnlyList<string> streams, int fromPart)
    {
        var needed = streams.Select(stream => Stream(stream, fromPart)).ToHashSet(StringComparer.Ordinal);
        foreach (var file in Directory.EnumerateFiles(Folder).Where(path => StreamName().IsMatch(Path.GetFileName(path)) && !needed.Contains(path)))
        {
            File.Delete(file);
        }

        foreach (var folder in Directory.EnumerateDirectories(Folder))
        {
            if (PartName().Match(Path.GetFileName(folder)) is { Success: true } part && !IsKept(part, fromPart))
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    /// <inheritdoc/>
    protected override bool Owns(string name) => base.Owns(name) || StreamName().IsMatch(name) || PartName().IsMatch(name);

    private static bool IsKept(Match part, int fromPart) =>
        !part.Groups["temporary"].Success
        && int.TryParse(part.Groups["number"].Value, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
        && number < fromPart;

    [GeneratedRegex($@"^({InputStream}|{FloatStream})-\d{{3,}}\.bin(\.tmp)?$", RegexOptions.ExplicitCapture)]
    private static partial Regex StreamName();

    [GeneratedRegex(@"^part-(?<number>\d{3,})(?<temporary>\.tmp-.*)?$", RegexOptions.ExplicitCapture)]
    private static partial Regex PartName();
}
