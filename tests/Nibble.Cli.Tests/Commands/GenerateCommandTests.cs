using Nibble.Cli.Comparison;
using Nibble.Tests.Shared;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble generate</c> of exported files, in the engines themselves, beside the simulation.</summary>
[Collection(OneAtATime.Name)]
public sealed class GenerateCommandTests : IDisposable
{
    private const string Prompt = "The fox";

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("0")]
    [InlineData("1.5")]
    public async Task AnONNXFileWritesWhatTheSimulationWrites(string temperature)
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("exported/model.onnx"));
        var simulated = await Generate(folder.Model, "--temperature", temperature);
        Assert.StartsWith(Prompt, simulated.Output, StringComparison.Ordinal);
        Assert.Equal(simulated.Output, (await Generate(folder.At("exported/model.onnx"), "--temperature", temperature)).Output);
        Assert.Equal(simulated.Output, (await Generate(folder.At("exported"), "--temperature", temperature)).Output);
        Assert.Equal(simulated.Output, (await Generate(folder.Model, "--temperature", temperature, "--engine", "onnxruntime")).Output);

        var document = (await Generate(folder.At("exported"), "--temperature", temperature, "--json")).Json;
        Assert.Equal("nibble.generate/1", document.GetProperty("schema").GetString());
        Assert.Equal("exported", document.GetProperty("model").GetString());
        Assert.Equal("onnxruntime", document.GetProperty("engine").GetString());
        Assert.Equal(simulated.Output.TrimEnd('\n'), Prompt + document.GetProperty("text").GetString());
    }

    [Fact]
    public async Task AGGUFFileWritesWhatTheSimulationWrites()
    {
        LlamaCpp.RequireFolder();
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "--type", "f32", "-o", folder.At("story.gguf"));
        var simulated = await Generate(BuiltInModel.Folder, "--temperature", "0", "--threads", "1");
        Assert.Equal(simulated.Output, (await Generate(folder.At("story.gguf"), "--temperature", "0", "--threads", "1")).Output);
        Assert.Equal(simulated.Output, (await Generate(BuiltInModel.Folder, "--temperature", "0", "--threads", "1", "--engine", "llama.cpp")).Output);

        // The file can be simulated too.
        Assert.Equal(simulated.Output, (await Generate(folder.At("story.gguf"), "--temperature", "0", "--threads", "1", "--engine", "nibble")).Output);

        // As many tokens as can be asked for, of which the context holds few.
        var whole = await CommandRun.Succeeds(
            "generate", BuiltInModel.Folder, "--engine", "llama.cpp", "-p", Prompt, "--max-tokens", "2000000000", "--temperature", "0", "--threads", "1");
        Assert.StartsWith(simulated.Output.TrimEnd('\n'), whole.Output, StringComparison.Ordinal);

        // The seed drives the same draws in every engine.
        var (one, two) = (await Generate(folder.At("story.gguf"), "--seed", "1", "--threads", "1", "--json"),
            await Generate(folder.At("story.gguf"), "--seed", "2", "--threads", "1", "--json"));
        Assert.Equal("llama.cpp", one.Json.GetProperty("engine").GetString());
        Assert.NotEqual(one.Json.GetProperty("text").GetString(), two.Json.GetProperty("text").GetString());
    }

    [Fact]
    public async Task TextAppearsTokenByToken()
    {
        await using var output = new Pieces();
        Assert.Equal(ExitCode.Done,
            await NibbleProgram.RunAsync(
            ["generate", folder.Model, "-p", Prompt, "--max-tokens", "8", "--temperature", "0", "--threads", "1"], output, TextWriter.Null));
        Assert.True(output.Flushes >= 8, $"{output.Flushes} flushes");
    }

    [Fact]
    public async Task TheContextOfAnONNXFileIsTheModelS()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("exported/model.onnx"));
        var run = await CommandRun.Of("generate", folder.At("exported"), "-p", new string('x', 80));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("the model's context of 64", run.Error, StringComparison.Ordinal);
        Assert.Empty(run.Output);
    }

    [Fact]
    public async Task AnONNXFileWithoutATokenizerIsRefusedUnlessOneIsNamed()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("exported/model.onnx"));
        File.Delete(folder.At("exported/tokenizer.json"));
        var run = await CommandRun.Of("generate", folder.At("exported"), "-p", Prompt);
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("name its folder with --tokenizer", run.Error, StringComparison.Ordinal);
        Assert.StartsWith(Prompt, (await Generate(folder.At("exported"), "--tokenizer", folder.Model)).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnExportLeavesAnotherTokenizerAlone()
    {
        var other = folder.Write("tokenizer.json", "{}");
        var run = await CommandRun.Of("export", folder.Model, "--to", "onnx", "-o", folder.At("beside.onnx"));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("belongs to another model", run.Error, StringComparison.Ordinal);
        Assert.Equal("{}", File.ReadAllText(other));
        Assert.False(File.Exists(folder.At("beside.onnx")));
    }

    [Fact]
    public async Task AnONNXFileIsImportedWhereItIsNotItsEngineThatIsNamed()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("exported/model.onnx"));
        var simulated = await Generate(folder.Model, "--temperature", "0");
        Assert.Equal(simulated.Output, (await Generate(folder.At("exported"), "--temperature", "0", "--engine", "nibble")).Output);
    }

    /// <summary>What the model's own file says about generating goes wherever the model goes, and is done unless the command line says otherwise.</summary>
    [Fact]
    public async Task TheModelSaysHowTextIsGenerated()
    {
        var greedy = await Generate(folder.Model, "--temperature", "0", "--json");
        var file = Path.Combine(folder.Model, "generation_config.json");
        await File.WriteAllTextAsync(file, """{"do_sample":false,"temperature":3,"repetition_penalty":1.3}""", TestContext.Current.CancellationToken);
        var own = await Generate(folder.Model, "--json");
        Assert.Equal(greedy.Output, own.Output);
        Assert.Contains("generation_config.json: repetition_penalty is not supported and not applied", own.Error, StringComparison.Ordinal);
        Assert.NotEqual(greedy.Output, (await Generate(folder.Model, "--temperature", "1.5", "--json")).Output);

        // The likeliest second token ends the text.
        using var loaded = LoadedModel.Open(folder.Model);
        var prompt = TextGenerator.Encode(loaded.Tokenizer, Prompt);
        var second = TextGenerator.Continue(loaded.Decoder, prompt, 2, TestContext.Current.CancellationToken)[1];
        await File.WriteAllTextAsync(file, $$"""{"do_sample":false,"eos_token_id":[0,{{second}}]}""", TestContext.Current.CancellationToken);
        var ended = (await Generate(folder.Model, "--json")).Json.GetProperty("text").GetString()!;
        Assert.True(ended.Length < greedy.Json.GetProperty("text").GetString()!.Length);
        await CommandRun.Succeeds("ptq", folder.Model, "-r", "w8a16-g32", "-o", folder.At("quantized"));
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("exported/model.onnx"));
        await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "-o", folder.At("exported.gguf"));
        await CommandRun.Succeeds("import", folder.At("exported/model.onnx"), "-o", folder.At("imported"));
        foreach (var copy in (string[])["quantized", "exported", "imported"])
        {
            Assert.Equal(await File.ReadAllBytesAsync(file, TestContext.Current.CancellationToken),
                await File.ReadAllBytesAsync(folder.At($"{copy}/generation_config.json"), TestContext.Current.CancellationToken));
        }

        Assert.Equal(ended, (await Generate(folder.At("exported"), "--json")).Json.GetProperty("text").GetString());
        var metadata = (await CommandRun.Succeeds("inspect", folder.At("exported.gguf"), "--json")).Json.GetProperty("metadata");
        Assert.Equal(second.ToString(System.Globalization.CultureInfo.InvariantCulture), metadata.GetProperty("tokenizer.ggml.eom_token_id").ToString());
    }

    private static Task<CommandRun> Generate(string model, params string[] further) =>
        CommandRun.Succeeds(["generate", model, "-p", Prompt, "--max-tokens", "16", .. further]);

    /// <summary>Counts how often what was written is handed on.</summary>
    private sealed class Pieces : StringWriter
    {
        public int Flushes { get; private set; }

        public override void Flush() => Flushes++;
    }
}
