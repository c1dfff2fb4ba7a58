using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text.RegularExpressions;
using Nibble.Onnx.Serving;
using Nibble.Onnx.Tests.Serving;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Samples;

/// <summary>The sample's server, started as it is deployed, on a free port.</summary>
public sealed partial class SentenceSearchTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private static readonly string Sample = Path.Combine(Repository.Root!, "samples", "sentence-search");
    private static readonly string Output = Path.Combine(
        Sample, "bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, $"net{Environment.Version.Major}.0");

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ProgramHasFewerThanEightyLines() => Assert.InRange(File.ReadLines(Path.Combine(Sample, "Program.cs")).Count(), 20, 79);

    [Fact]
    public void ServerIsDeployedWithoutLibtorch()
    {
        var files = Directory.EnumerateFiles(Output, "*", SearchOption.AllDirectories).Select(Path.GetFileName).ToList();

        Assert.Contains("Nibble.Onnx.dll", files);
        Assert.DoesNotContain(files, file => file!.Contains("torch", StringComparison.OrdinalIgnoreCase));
    }

    [Fact]
    public async Task AnswersBothRequestsAndStops()
    {
        using var export = TinyExport.Embedding(folder, "w8a8-static-mse");
        using var encoder = SentenceEncoder.Open(export.Path);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Patience);
        using var server = Start("--model", export.Path, "--urls", "http://127.0.0.1:0");
        try
        {
            using var client = new HttpClient { BaseAddress = await ReadAddress(server, patience.Token) };

            using var embedded = await client.PostAsJsonAsync("/embed", (string[])["good film", "bad"], patience.Token);
            Assert.Equal(HttpStatusCode.OK, embedded.StatusCode);
            var vectors = await embedded.Content.ReadFromJsonAsync<float[][]>(patience.Token);
            Assert.Equal([encoder.Encode("good film"), encoder.Encode("bad")], vectors!);

            using var refused = await client.PostAsJsonAsync("/embed", (string?[])["good", null], patience.Token);
            Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);

            var sentence = File.ReadLines(Path.Combine(Sample, "sentences.txt")).ElementAt(4);
            var found = await client.GetFromJsonAsync<Match[]>($"/search?q={Uri.EscapeDataString(sentence)}", patience.Token);
            Assert.Equal(3, found!.Length);
            Assert.Equal(1, found[0].Score, 1e-4f);
            Assert.Equal(found.OrderByDescending(match => match.Score), found);
            using var nothing = await client.GetAsync(new Uri("/search", UriKind.Relative), patience.Token);
            Assert.Equal(HttpStatusCode.BadRequest, nothing.StatusCode);

            await Stop(server, patience.Token);
            Assert.Equal(0, server.ExitCode);
        }
        finally
        {
            if (!server.HasExited)
            {
                server.Kill(entireProcessTree: true);
            }
        }
    }

    [Fact]
    public async Task AMissingModelEndsItAtTheStart()
    {
        using var server = Start("--model", folder.File("none.onnx"));
        var error = await server.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await server.WaitForExitAsync(TestContext.Current.CancellationToken);

        Assert.NotEqual(0, server.ExitCode);
        Assert.Contains($"There is no file {folder.File("none.onnx")}", error, StringComparison.Ordinal);
    }

    private Process Start(params string[] arguments) => Process.Start(new ProcessStartInfo(
        "dotnet", [Path.Combine(Output, "SentenceSearch.dll"), .. arguments])
    {
        WorkingDirectory = folder.Path,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;

    private static async Task<Uri> ReadAddress(Process server, CancellationToken cancellation)
    {
        while (await server.StandardOutput.ReadLineAsync(cancellation) is { } line)
        {
            if (Address().Match(line) is { Success: true } match)
            {
                return new Uri(match.Value);
            }
        }

        throw new InvalidOperationException($"the server ended: {await server.StandardError.ReadToEndAsync(cancellation)}");
    }

    /// <summary>Asks the server to stop, as a service manager does.</summary>
    private static async Task Stop(Process server, CancellationToken cancellation)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "there is no SIGTERM");
        using var kill = Process.Start("kill", ["-TERM", $"{server.Id}"]);
        await kill.WaitForExitAsync(cancellation);
        await server.WaitForExitAsync(cancellation);
    }

    [GeneratedRegex(@"http://127\.0\.0\.1:\d+")]
    private static partial Regex Address();

    private sealed record Match(string Text, float Score);
}
