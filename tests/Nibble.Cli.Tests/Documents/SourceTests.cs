using System.Text.RegularExpressions;
using Nibble.Torch.Models;

namespace Nibble.Cli.Tests.Documents;

/// <summary>What the source is held to beyond the compiler and its analyzers.</summary>
public sealed partial class SourceTests
{
    private const int Width = 160;

    /// <summary>The options that messages of libraries name since they are those of other programs: vLLM's, and llama.cpp's.</summary>
    private static readonly string[] Foreign = ["--dtype", "--merge"];

    [Fact]
    public void LinesAreNoLongerThan160Characters() => Assert.Empty(
        Lines("src").Where(line => line.Text.Length > Width).Select(line => $"{line.Path}:{line.Number}"));

    /// <summary>A library does not know which program calls it: <see cref="Failure"/> adds what helps there.</summary>
    [Fact]
    public void LibrariesNameNoOptionOfTheProgram() => Assert.Empty(
        Lines("src").Where(line => !line.Path.StartsWith("src/Nibble.Cli/", StringComparison.Ordinal) && !line.Text.TrimStart().StartsWith("//", StringComparison.Ordinal))
            .SelectMany(line => OptionName().Matches(line.Text).Select(match => match.Value).Except(Foreign).Select(name => $"{line.Path}:{line.Number}: {name}")));

    /// <summary>Such a type hides behind its namespace: every use needs both names.</summary>
    [Fact]
    public void NoTypeIsNamedLikeItsNamespace() => Assert.Empty(
        new[] { typeof(Quantize), typeof(LoadedModel), typeof(Onnx.OnnxExporter), typeof(Failure) }.SelectMany(type => type.Assembly.GetTypes())
            .Where(type => type is { IsNested: false, Namespace: { } name } && name.Split('.')[^1] == type.Name).Select(type => type.FullName));

    private static IEnumerable<(string Path, int Number, string Text)> Lines(string folder) =>
        from file in Directory.EnumerateFiles(Path.Combine(Document.Root, folder), "*.cs", SearchOption.AllDirectories)
        let path = Path.GetRelativePath(Document.Root, file).Replace('\\', '/')
        where !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal)
        from line in File.ReadLines(file).Select((text, i) => (path, i + 1, text))
        select line;

    [GeneratedRegex("(?<=[ (])--[a-z][a-z-]+")]
    private static partial Regex OptionName();
}
