using System.Reflection;
using System.Text.RegularExpressions;
using Nibble.Torch.Models;

namespace Nibble.Cli.Tests.Documents;

/// <summary>What the source is held to beyond the compiler and its analyzers.</summary>
public sealed partial class SourceTests
{
    private const int Width = 160;

    /// <summary>The options that messages of libraries name since they are those of other programs: vLLM's, and llama.cpp's.</summary>
    private static readonly string[] Foreign = ["--dtype", "--merge"];

    private static IEnumerable<Assembly> Assemblies =>
        new[] { typeof(Quantize), typeof(LoadedModel), typeof(Onnx.OnnxExporter), typeof(Failure) }.Select(type => type.Assembly);

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
        Assemblies.SelectMany(assembly => assembly.GetTypes())
            .Where(type => type is { IsNested: false, Namespace: { } name } && name.Split('.')[^1] == type.Name).Select(type => type.FullName));

    /// <summary>What a folder needs can be read without what needs it. Its own folders belong to it.</summary>
    [Fact]
    public void FoldersSideBySideFormNoCycle()
    {
        var cycles = new List<string>();
        foreach (var assembly in Assemblies)
        {
            var references = FolderReferences.Of(assembly.Location);
            Assert.NotEmpty(references);
            var parents = references.SelectMany(pair => new[] { pair.From, pair.To }).SelectMany(Parents).Distinct();
            cycles.AddRange(parents.Select(parent => FolderReferences.FindCycle(references, parent)).OfType<IReadOnlyList<string>>()
                .Select(cycle => $"{assembly.GetName().Name}: {string.Join(" -> ", cycle)}"));
        }

        Assert.Empty(cycles);

        static IEnumerable<string> Parents(string type)
        {
            for (var end = type.LastIndexOf('.'); end >= 0; end = type.LastIndexOf('.', end - 1))
            {
                yield return type[..end];
            }
        }
    }

    [Fact]
    public void ACycleOfFoldersIsFound()
    {
        (string, string)[] references = [("A.X.One", "A.Y.Deep.Two"), ("A.Y.Three", "A.Z.Four"), ("A.Z.Five", "A.X.Six"), ("A.Door", "A.X.One"), ("A.X.One", "A.Door")];
        Assert.Equal(["X", "Y", "Z", "X"], FolderReferences.FindCycle(references, "A"));
        Assert.Null(FolderReferences.FindCycle(references[..2], "A"));
        Assert.Null(FolderReferences.FindCycle(references, "A.Y"));
    }

    /// <summary>A folder of many small ones may share one namespace, that of their parent.</summary>
    [Fact]
    public void NamespacesAreThoseOfFolders() => Assert.Empty(
        from line in Lines("src")
        where line.Text.StartsWith("namespace ", StringComparison.Ordinal)
        let space = line.Text["namespace ".Length..].TrimEnd(';')
        let folder = Path.GetDirectoryName(line.Path)!.Replace('\\', '/')["src/".Length..].Replace('/', '.')
        where folder != space && !folder.StartsWith(space + ".", StringComparison.Ordinal)
        select $"{line.Path}: {space}");

    private static IEnumerable<(string Path, int Number, string Text)> Lines(string folder) =>
        from file in Directory.EnumerateFiles(Path.Combine(Document.Root, folder), "*.cs", SearchOption.AllDirectories)
        let path = Path.GetRelativePath(Document.Root, file).Replace('\\', '/')
        where !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal)
        from line in File.ReadLines(file).Select((text, i) => (path, i + 1, text))
        select line;

    [GeneratedRegex("(?<=[ (])--[a-z][a-z-]+")]
    private static partial Regex OptionName();
}
