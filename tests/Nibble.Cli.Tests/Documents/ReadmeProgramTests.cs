using System.Diagnostics;
using System.Xml.Linq;
using Nibble.Cli.Tests.Commands;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The C# of the README in a project of a user's, outside of the repository, which nothing of the repository's own settings reaches.</summary>
[Collection(OneAtATime.Name)]
public sealed class ReadmeProgramTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task BuildsWithoutAWarningAndRuns()
    {
        // Links keep half a gigabyte of libtorch where it is. The libraries are there, built as these tests are.
        var configuration = new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;
        folder.Write("app.csproj", $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net{Environment.Version.Major}.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <CreateSymbolicLinksForCopyLocalIfPossible>true</CreateSymbolicLinksForCopyLocalIfPossible>
              </PropertyGroup>
              <ItemGroup>
                <ProjectReference Include="{Document.Root}/src/Nibble/Nibble.csproj" />
                <ProjectReference Include="{Document.Root}/src/Nibble.Torch/Nibble.Torch.csproj" />
                <ProjectReference Include="{Document.Root}/src/Nibble.Onnx/Nibble.Onnx.csproj" />
                <PackageReference Include="TorchSharp-cpu" Version="{VersionOf("TorchSharp-cpu")}" />
              </ItemGroup>
            </Project>
            """);
        var lines = Document.Read("README.md").Block("csharp").Split('\n');
        var usings = lines.TakeWhile(line => line.StartsWith("using ", StringComparison.Ordinal)).ToList();
        folder.Write("Program.cs", string.Join('\n', [.. usings, "var (folder, textFile, output) = (args[0], args[1], args[2]);", .. lines[usings.Count..]]));

        await Run("dotnet", "restore", "app.csproj", "-warnaserror");
        await Run(
            "dotnet", "build", "app.csproj", "--no-restore", "-c", configuration, "-warnaserror", "-nodeReuse:false",
            "-p:UseSharedCompilation=false", "-p:BuildProjectReferences=false");
        var program = folder.At($"bin/{configuration}/net{Environment.Version.Major}.0/app.dll");
        var output = await Run("dotnet", program, folder.Model, folder.TrainingText, folder.At("out"));

        Assert.Matches(@"^perplexity [\d.]+, quantized [\d.]+, KL [\d.]+ nats, same token [\d.]+ ?%\s*$", output);
        Assert.True(File.Exists(folder.At("out/nibble.json")));
    }

    private static string VersionOf(string package)
    {
        var versions = XDocument.Load(Path.Combine(Document.Root, "Directory.Packages.props")).Descendants("PackageVersion");
        return versions.Single(version => version.Attribute("Include")!.Value == package).Attribute("Version")!.Value;
    }

    private async Task<string> Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder.Root, RedirectStandardOutput = true, RedirectStandardError = true };

        // What the test host was started with is not for another build.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToList())
        {
            start.Environment.Remove(name);
        }

        start.Environment["DOTNET_CLI_UI_LANGUAGE"] = "en";
        using var process = Process.Start(start)!;
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Patience);
        try
        {
            var (output, error) = (process.StandardOutput.ReadToEndAsync(patience.Token), process.StandardError.ReadToEndAsync(patience.Token));
            await process.WaitForExitAsync(patience.Token);
            Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}:\n{await output}\n{await error}");
            return await output;
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }
}
