using System.Text.Json;
using System.Xml.Linq;

namespace Nibble.Cli.Tests.Packages;

/// <summary>The packages that a project needs, as its restore found them, with their licences.</summary>
internal static class DependencyLicences
{
    /// <param name="assets">The project's <c>project.assets.json</c>.</param>
    public static IEnumerable<(string Id, string Licence)> Read(string assets)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(assets));
        var folders = json.RootElement.GetProperty("packageFolders").EnumerateObject().Select(folder => folder.Name).ToList();
        return [.. json.RootElement.GetProperty("libraries").EnumerateObject()
            .Where(library => library.Value.GetProperty("type").GetString() == "package")
            .Select(library => (library.Name.Split('/')[0], Licence(folders, library.Value.GetProperty("path").GetString()!)))];
    }

    private static string Licence(List<string> folders, string path)
    {
        var folder = folders.Select(folder => Path.Combine(folder, path)).First(Directory.Exists);
        var licence = XDocument.Load(Directory.GetFiles(folder, "*.nuspec").Single()).Descendants().First(element => element.Name.LocalName == "license");

        // A licence file instead of an expression: those of ONNX Runtime, which begin with the licence's name.
        return licence.Attribute("type")!.Value == "file"
            ? File.ReadLines(Path.Combine(folder, licence.Value)).First().Replace(" License", "", StringComparison.Ordinal)
            : licence.Value;
    }
}
