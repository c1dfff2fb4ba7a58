using Nibble.Files;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Nibble.Torch.Ptq;

/// <summary>The unfinished work of a PTQ run: its finished parts, and the activations to resume from.</summary>
/// <remarks>A killed run resumes after the last part for whose successor the inputs exist.</remarks>
internal sealed partial class PtqJob(string output, IReadOnlyDictionary<string, string> identity, bool restart) : OutputJob(output, identity, restart)
{
    /// <summary>The stream of a part's inputs after quantized parts.</summary>
    public const string InputStream = "inputs";

    /// <summary>The stream of a part's inputs in the float model.</summary>
    public const string FloatStream = "floats";

    /// <summary>The folder of a finished part.</summary>
    public string Part(int number) => At(string.Create(CultureInfo.InvariantCulture, $"part-{number:D3}"));

    /// <summary>The file of a stream of activations that a part reads.</summary>
    public string Stream(string name, int part) => At(string.Create(CultureInfo.InvariantCulture, $"{name}-{part:D3}.bin"));

    /// <summary>The first part that is not finished.</summary>
    /// <param name="streams">The streams that a part needs. A part whose inputs are gone has to be repeated with all parts after it.</param>
    /// <param name="inputsEnd">The first part that needs no inputs.</param>
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

    /// <summary>Fails early if there is not enough disk space to start or resume.</summary>
    /// <param name="artifact">The size of the artifact's tensors in bytes.</param>
    /// <param name="outside">The size of the tensors that are in no part, in bytes.</param>
    /// <param name="parts">The number of parts.</param>
    /// <param name="streams">The size of all streams that one part reads, in bytes.</param>
    /// <exception cref="IOException">There is not enough disk space.</exception>
    public void RequireSpace(long artifact, long outside, int parts, long streams)
    {
        // During the last part, its inputs and outputs exist at the same time. At the end, the artifact exists next to its parts.
        var whole = artifact - outside;
        var most = Math.Max((whole * (parts - 1) / parts) + (2 * streams), whole + artifact);
        DiskSpace.Require(Folder, most - DiskSpace.Taken(Folder), "the unfinished work with the artifact");
    }

    /// <summary>Rejects finished parts that are damaged.</summary>
    /// <param name="count">The number of finished parts.</param>
    /// <exception cref="DamagedFileException">One of them is damaged.</exception>
    public void RequireIntact(int count)
    {
        for (var number = 0; number < count; number++)
        {
            FolderChecksums.Require(Part(number), Remedy);
        }
    }

    /// <summary>Deletes what an interrupted run has left of parts that will be repeated, and all streams except the inputs of the first of them.</summary>
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
