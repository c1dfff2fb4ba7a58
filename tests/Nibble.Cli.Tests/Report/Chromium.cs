using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Cli.Tests.Report;

/// <summary>A page in a headless Chromium, driven over the DevTools protocol.</summary>
internal sealed class Chromium : IAsyncDisposable
{
    private const string Announcement = "DevTools listening on ";

    private static readonly string[] Names = ["chromium", "chromium-browser", "google-chrome", "chrome"];

    private readonly Process process;
    private readonly DirectoryInfo profile;
    private readonly ClientWebSocket socket = new();
    private string? session;
    private int sent;

    private Chromium(Process process, DirectoryInfo profile) => (this.process, this.profile) = (process, profile);

    /// <summary>The browser's program; null if this machine has none.</summary>
    public static string? Path { get; } = (Environment.GetEnvironmentVariable("PATH") ?? string.Empty).Split(System.IO.Path.PathSeparator)
        .SelectMany(folder => Names.Select(name => System.IO.Path.Combine(folder, name))).FirstOrDefault(File.Exists);

    /// <summary>The events of the page since it was last opened.</summary>
    public List<JsonNode> Events { get; } = [];

    /// <summary>Starts the browser with an empty page.</summary>
    public static async Task<Chromium> Start()
    {
        var profile = Directory.CreateTempSubdirectory("nibble-chromium-");
        var process = Process.Start(new ProcessStartInfo(Path!)
        {
            ArgumentList =
            {
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--remote-debugging-port=0", $"--user-data-dir={profile.FullName}", "about:blank",
            },
            RedirectStandardError = true,
        })!;
        var chromium = new Chromium(process, profile);
        try
        {
            await chromium.Connect();
            return chromium;
        }
        catch
        {
            await chromium.DisposeAsync();
            throw;
        }
    }

    /// <summary>Opens a file and waits until it is loaded.</summary>
    public async Task Open(string path)
    {
        Events.Clear();
        await Call("Page.navigate", new JsonObject { ["url"] = new Uri(path).AbsoluteUri });
        while (!Events.Exists(item => Method(item) == "Page.loadEventFired"))
        {
            Events.Add(await Receive());
        }
    }

    /// <summary>Sets the size of the page and the colour scheme that its reader prefers.</summary>
    public async Task Show(int width, bool mobile, string scheme)
    {
        await Call(
            "Emulation.setDeviceMetricsOverride",
            new JsonObject { ["width"] = width, ["height"] = 800, ["deviceScaleFactor"] = 1, ["mobile"] = mobile });
        await Call("Emulation.setEmulatedMedia", new JsonObject
        {
            ["features"] = new JsonArray(new JsonObject { ["name"] = "prefers-color-scheme", ["value"] = scheme }),
        });
    }

    /// <summary>The value of a JavaScript expression in the page.</summary>
    public async Task<T> Evaluate<T>(string expression)
    {
        var result = await Call("Runtime.evaluate", new JsonObject { ["expression"] = expression, ["returnByValue"] = true });
        Assert.True(result["exceptionDetails"] is null, result.ToJsonString());
        return result["result"]!["value"].Deserialize<T>()!;
    }

    public async ValueTask DisposeAsync()
    {
        socket.Dispose();
        process.Kill(entireProcessTree: true);
        await process.WaitForExitAsync();
        process.Dispose();
        profile.Delete(recursive: true);
    }

    /// <summary>The name of an event.</summary>
    public static string? Method(JsonNode message) => (string?)message["method"];

    private async Task Connect()
    {
        var cancellation = TestContext.Current.CancellationToken;
        string? address = null;
        while (address is null)
        {
            var line = await process.StandardError.ReadLineAsync(cancellation)
                ?? throw new InvalidOperationException($"{Path} ended before it could be driven");
            address = line.StartsWith(Announcement, StringComparison.Ordinal) ? line[Announcement.Length..] : null;
        }

        // What it writes later is of no interest, but would fill the pipe.
        _ = process.StandardError.BaseStream.CopyToAsync(Stream.Null, CancellationToken.None);
        await socket.ConnectAsync(new Uri(address), cancellation);
        var targets = (await Call("Target.getTargets"))["targetInfos"]!.AsArray();
        var page = targets.First(target => (string?)target!["type"] == "page")!["targetId"]!.DeepClone();
        session = (string?)(await Call("Target.attachToTarget", new JsonObject { ["targetId"] = page, ["flatten"] = true }))["sessionId"];
        foreach (var domain in (string[])["Page", "Runtime", "Log", "Network"])
        {
            await Call($"{domain}.enable");
        }
    }

    private async Task<JsonNode> Call(string method, JsonObject? parameters = null)
    {
        var message = new JsonObject { ["id"] = ++sent, ["method"] = method, ["params"] = parameters ?? [] };
        if (session is not null)
        {
            message["sessionId"] = session;
        }

        await socket.SendAsync(
            JsonSerializer.SerializeToUtf8Bytes(message), WebSocketMessageType.Text, endOfMessage: true, TestContext.Current.CancellationToken);
        while (true)
        {
            var reply = await Receive();
            if ((int?)reply["id"] == sent)
            {
                return reply["result"] ?? throw new InvalidOperationException($"{method}: {reply.ToJsonString()}");
            }

            Events.Add(reply);
        }
    }

    private async Task<JsonNode> Receive()
    {
        using var message = new MemoryStream();
        var buffer = new byte[64 * 1024];
        ValueWebSocketReceiveResult part;
        do
        {
            part = await socket.ReceiveAsync(buffer.AsMemory(), TestContext.Current.CancellationToken);
            message.Write(buffer, 0, part.Count);
        }
        while (!part.EndOfMessage);

        return JsonNode.Parse(message.ToArray())!;
    }
}
