using System.IO.Compression;
using System.Reflection.Metadata;
using System.Xml.Linq;
using Nibble.Cli.Tests.Commands;
using Nibble.Onnx.Graphs;
using Nibble.Tests.Shared;
using SkiaSharp;
using Document = Nibble.Cli.Tests.Documents.Document;

namespace Nibble.Cli.Tests.Packages;

/// <summary>The packages as a user gets them: what they hold, and that they work where nothing of the repository is.</summary>
[Collection(OneAtATime.Name)]
public sealed class PackageTests(PackedPackages packages) : IClassFixture<PackedPackages>, IDisposable
{
    /// <summary>The largest package that the NuGet gallery takes.</summary>
    private const long GalleryLimit = 250_000_000;

    /// <summary>The kind of a portable PDB's custom information that holds a source file.</summary>
    private static readonly Guid EmbeddedSource = new("0E8A571B-6926-466E-B4AD-8AB04611F5FE");

    private static readonly string[] Everywhere = ["README.md", "icon.png", "THIRD-PARTY-NOTICES.md"];
    private readonly TinyFolder folder = new(hidden: 256, inner: 256);

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("Nibble")]
    [InlineData("Nibble.Onnx")]
    [InlineData("Nibble.Torch")]
    public void LibraryHoldsItsDocumentsAndTakesItsSiblingsInItsOwnVersion(string id)
    {
        SkipUnlessPacked();

        using var package = packages.Open(id);
        var names = package.Entries.Select(entry => entry.FullName).ToList();

        Assert.Empty(((string[])[.. Everywhere, $"lib/net10.0/{id}.dll", $"lib/net10.0/{id}.xml"]).Except(names));
        var specification = Specification(package, id);
        Assert.Equal("MIT", Value(specification, "license"));
        Assert.NotEmpty(Value(specification, "description"));
        var siblings = specification.Descendants().Where(element => element.Name.LocalName == "dependency" && element.Attribute("id")!.Value == "Nibble").ToList();
        Assert.Equal(id != "Nibble", siblings.Count == 1);
        Assert.All(siblings, sibling => Assert.Equal($"[{packages.Version}]", sibling.Attribute("version")!.Value));
    }

    [Theory]
    [InlineData("Nibble")]
    [InlineData("Nibble.Onnx")]
    [InlineData("Nibble.Torch")]
    public void SymbolsHoldTheSourcesUnderPathsOfNoMachine(string id)
    {
        SkipUnlessPacked();

        using var package = packages.Open(id, "snupkg");
        using var symbols = new MemoryStream();
        using (var entry = package.GetEntry($"lib/net10.0/{id}.pdb")!.Open())
        {
            entry.CopyTo(symbols);
        }

        symbols.Position = 0;
        using var provider = MetadataReaderProvider.FromPortablePdbStream(symbols);
        var reader = provider.GetMetadataReader();
        var documents = reader.Documents.Select(handle => reader.GetString(reader.GetDocument(handle).Name)).ToList();
        var embedded = reader.CustomDebugInformation
            .Select(reader.GetCustomDebugInformation)
            .Count(information => reader.GetGuid(information.Kind) == EmbeddedSource);

        Assert.NotEmpty(documents);
        Assert.All(documents, name => Assert.StartsWith("/_", name, StringComparison.Ordinal));
        Assert.Equal(documents.Count, embedded);
    }

    [Fact]
    public void ToolFitsTheGalleryAndHoldsTheLicencesOfWhatItContains()
    {
        SkipUnlessPacked();

        Assert.InRange(new FileInfo(packages.PathOf("Nibble.Tool.linux-x64")).Length, 1, GalleryLimit);
        using var package = packages.Open("Nibble.Tool.linux-x64");
        Assert.Empty(((string[])[.. Everywhere, "LICENSE-LIBTORCH.txt", "ThirdPartyNotices.txt"]).Except(package.Entries.Select(entry => entry.FullName)));
        Assert.True(File.Exists(Path.Combine(packages.Folder, "nibble-linux-x64", "nibble")));
    }

    [Fact]
    public async Task ToolRunsTheCommandsOfTheReadme()
    {
        SkipUnlessPacked();
        var llamaCpp = LlamaCpp.RequireFolder();
        packages.Configure(folder.Root);
        await ChildProcess.DotNet(
            folder.Root, "tool", "install", "Nibble.Tool", "--tool-path", folder.At("tools"), "--version", packages.Version);
        var nibble = folder.At("tools/nibble");
        PlaceWhatTheReadmeNames();
        await ChildProcess.Succeed(folder.Root, nibble, "export", "models/smollm", "--to", "gguf", "--type", "f16", "--output", "smollm-f16.gguf");

        var lines = Document.Read("README.md").CodeLines().Where(line => line.StartsWith("nibble ", StringComparison.Ordinal)).ToList();
        foreach (var line in lines)
        {
            var words = line.Split(' ')[1..];
            await ChildProcess.Succeed(folder.Root, nibble, [.. words, .. Shortened(words[0], llamaCpp)]);
        }

        Assert.True(lines.Count > 10, "the README's commands were not found");
        Assert.All(
            (string[])["compared/report.html", "advice/report.html", "smollm-w4.gguf", "minilm-onnx/model.onnx", "smollm-q4_k_m.gguf"],
            name => Assert.True(File.Exists(folder.At(name)), name));
        Assert.DoesNotContain(Directory.EnumerateFiles(folder.Root), file => Path.GetFileName(file).StartsWith("tokenizer", StringComparison.Ordinal));
    }

    [Fact]
    public async Task ProgramOfTheReadmeRunsInAnEmptyProject()
    {
        SkipUnlessPacked();
        packages.Configure(folder.Root);
        folder.Write("app.csproj", $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net{Environment.Version.Major}.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
                <CreateSymbolicLinksForCopyLocalIfPossible>true</CreateSymbolicLinksForCopyLocalIfPossible>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="Nibble.Torch" Version="{packages.Version}" />
                <PackageReference Include="Nibble.Onnx" Version="{packages.Version}" />
                <PackageReference Include="TorchSharp-cpu" Version="{VersionOf("TorchSharp-cpu")}" />
              </ItemGroup>
            </Project>
            """);
        var lines = Document.Read("README.md").Block("csharp").Split('\n');
        var usings = lines.TakeWhile(line => line.StartsWith("using ", StringComparison.Ordinal)).ToList();
        folder.Write("Program.cs", string.Join('\n', [.. usings, "var (folder, textFile, output) = (args[0], args[1], args[2]);", .. lines[usings.Count..]]));

        await ChildProcess.DotNet(folder.Root, "build", "app.csproj", "-c", "Release", "-p:UseSharedCompilation=false");
        var output = await ChildProcess.Succeed(
            folder.Root, "dotnet", $"bin/Release/net{Environment.Version.Major}.0/app.dll", folder.Model, folder.TrainingText, "out");

        Assert.Matches(@"^perplexity [\d.]+, quantized [\d.]+, KL [\d.]+ nats, same token [\d.]+ ?%\s*$", output);
        Assert.True(File.Exists(folder.At("out/nibble.json")));
    }

    /// <summary>A package of the same name whose public type this version lacks.</summary>
    [Fact]
    public async Task PackingFailsWhereTheBaselineHasWhatThisVersionLacks()
    {
        SkipUnlessPacked();
        var baseline = packages.Version.Replace("-test", "-old", StringComparison.Ordinal);
        Directory.CreateDirectory(folder.At("old"));
        folder.Write("old/Nibble.csproj", $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup><TargetFramework>net{Environment.Version.Major}.0</TargetFramework><Version>{baseline}</Version></PropertyGroup>
            </Project>
            """);
        folder.Write("old/Removed.cs", "namespace Nibble; public class Removed { }");
        await ChildProcess.DotNet(folder.At("old"), "pack", "-c", "Release", "-o", packages.Folder);

        string[] packing =
        [
            "pack", "src/Nibble", "-c", "Release", "--artifacts-path", folder.At("artifacts"), "-o", folder.At("new"), "-p:RunAnalyzers=false",
            $"-p:PackageValidationBaselineVersion={baseline}", $"-p:RestoreAdditionalProjectSources={packages.Folder}",
            $"-p:RestorePackagesPath={folder.At("packages")}",
        ];
        var run = await ChildProcess.Run(Document.Root, packing, program: "dotnet");

        Assert.NotEqual(0, run.ExitCode);
        Assert.Matches("CP0001.*Nibble.Removed", run.Output + run.Error);
    }

    [Fact]
    public void EveryPackageThatTheProgramNeedsIsInTheNotices()
    {
        var notices = Document.Read("THIRD-PARTY-NOTICES.md").Table("package").ToDictionary(cells => cells[0], cells => cells[1]);
        var assets = Path.Combine(Document.Root, "src", "Nibble.Cli", "obj", "project.assets.json");

        Assert.All(DependencyLicences.Read(assets), dependency =>
        {
            var family = notices.Keys.FirstOrDefault(name => name == dependency.Id || (name.EndsWith('*') && dependency.Id.StartsWith(name[..^1], StringComparison.Ordinal)));
            Assert.True(family is not null, $"{dependency.Id} is not in THIRD-PARTY-NOTICES.md");
            Assert.Contains(dependency.Licence, notices[family], StringComparison.Ordinal);
        });
    }

    private void PlaceWhatTheReadmeNames()
    {
        Directory.CreateDirectory(folder.At("models"));
        Directory.Move(folder.Model, folder.At("models/smollm"));
        Directory.Move(TinyEncoder.WriteEmbedder(folder.At("encoder")), folder.At("models/minilm"));
        File.Move(folder.EvaluationText, folder.At("valid.txt"));
        TinyEncoder.WriteLabelled(folder.At("train.tsv"), 40);
        PlaceImageModel();
    }

    /// <summary>A convolution over images, and a few images.</summary>
    private void PlaceImageModel()
    {
        var builder = new GraphBuilder();
        var weight = builder.Initializer("w", OnnxType.Float32, [4, 3, 3, 3], stream =>
        {
            for (var i = 0; i < 4 * 3 * 3 * 3; i++)
            {
                stream.Write(BitConverter.GetBytes(MathF.Sin(i)));
            }
        });
        var pooled = builder.Node("GlobalAveragePool", [builder.Node("Conv", [builder.Input("images", OnnxType.Float32, "n", 3, 32, 32), weight])]);
        builder.Output(builder.Node("Flatten", [pooled]), "classes", OnnxType.Float32, "n", 4);
        OnnxWriter.Write(folder.At("resnet.onnx"), builder.Build("resnet", []), builder.Initializers);
        Directory.CreateDirectory(folder.At("images"));
        for (var i = 0; i < 6; i++)
        {
            using var picture = new SKBitmap(40, 36);
            picture.Erase(new SKColor((byte)(40 * i), 120, (byte)(255 - (30 * i))));
            using var data = picture.Encode(SKEncodedImageFormat.Png, 90);
            File.WriteAllBytes(Path.Combine(folder.At("images"), $"{i}.png"), data.ToArray());
        }
    }

    private static void SkipUnlessPacked() => Assert.SkipUnless(OperatingSystem.IsLinux(), "packaging/pack.sh is a script of Linux");

    /// <summary>Options that shorten a command's work, since what it computes is tested elsewhere, or that name the engine that tests have.</summary>
    private static string[] Shortened(string command, string llamaCpp) => command switch
    {
        "compare" => ["--steps", "2", "--windows", "2"],
        "advise" => ["--steps", "2", "--windows", "2", "--probe-minutes", "0.1"],
        "qat" => ["--steps", "2"],
        "verify" => ["--engine-path", llamaCpp],
        "finetune" => ["--epochs", "1"],
        _ => [],
    };

    private static string VersionOf(string package)
    {
        var versions = XDocument.Load(Path.Combine(Document.Root, "Directory.Packages.props")).Descendants("PackageVersion");
        return versions.Single(version => version.Attribute("Include")!.Value == package).Attribute("Version")!.Value;
    }

    private static XDocument Specification(ZipArchive package, string id)
    {
        using var stream = package.GetEntry($"{id}.nuspec")!.Open();
        return XDocument.Load(stream);
    }

    private static string Value(XDocument specification, string name) => specification.Descendants().First(element => element.Name.LocalName == name).Value;
}
