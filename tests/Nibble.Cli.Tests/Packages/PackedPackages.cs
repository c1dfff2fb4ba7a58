using System.IO.Compression;
using System.Xml.Linq;
using Nibble.Cli.Tests.Commands;
using Nibble.Cli.Tests.Documents;

namespace Nibble.Cli.Tests.Packages;

/// <summary>What <c>packaging/pack.sh</c> makes, in a folder that is a package source.</summary>
public sealed class PackedPackages : IAsyncLifetime
{
    /// <summary>No other version in any cache of packages is this one.</summary>
    public string Version { get; } = $"0.0.0-test{Environment.ProcessId}.{DateTime.UtcNow.Ticks}";

    /// <summary>The folder of the packages.</summary>
    public string Folder { get; } = Directory.CreateTempSubdirectory("nibble-packages-").FullName;

    public async ValueTask InitializeAsync()
    {
        if (OperatingSystem.IsLinux())
        {
            await ChildProcess.Succeed(Document.Root, Path.Combine(Document.Root, "packaging", "pack.sh"), Folder, Version);
        }
    }

    public ValueTask DisposeAsync()
    {
        Directory.Delete(Folder, recursive: true);
        return ValueTask.CompletedTask;
    }

    /// <summary>The path of a package.</summary>
    internal string PathOf(string id, string extension = "nupkg") => Path.Combine(Folder, $"{id}.{Version}.{extension}");

    /// <summary>Opens a package.</summary>
    internal ZipArchive Open(string id, string extension = "nupkg") => ZipFile.OpenRead(PathOf(id, extension));

    /// <summary>Writes the NuGet configuration of an empty folder: packages come from here, and this machine's cache is read but not written.</summary>
    internal void Configure(string folder)
    {
        var cache = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        var configuration = new XElement(
            "configuration",
            new XElement("config", Add("globalPackagesFolder", Path.Combine(folder, "packages"))),
            new XElement("fallbackPackageFolders", Add("machine", cache)),
            new XElement("packageSources", Add("nibble", Folder)));
        File.WriteAllText(Path.Combine(folder, "nuget.config"), configuration.ToString());
    }

    private static XElement Add(string key, string value) => new("add", new XAttribute("key", key), new XAttribute("value", value));
}
