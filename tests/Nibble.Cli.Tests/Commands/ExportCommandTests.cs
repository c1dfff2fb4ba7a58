using Nibble.Cli.Comparison;
using Nibble.Cli.Engines;
using Nibble.Formats.Gguf;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble export</c> and <c>nibble verify</c>; what runs in llama.cpp is skipped where it is not installed.</summary>
[Collection(OneAtATime.Name)]
public sealed class ExportCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task Export_writes_codes_and_says_what_it_wrote()
    {
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g32", "--output", folder.At("w4"));
        var run = await CommandRun.Succeeds("export", folder.At("w4"), "--to", "gguf", "-o", folder.At("w4.gguf"), "--json");

        Assert.Equal("nibble.export/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(21, run.Json.GetProperty("types").GetProperty("Q4_1").GetInt32());
        Assert.Contains("of a step", run.Json.GetProperty("notes")[0].GetString(), StringComparison.Ordinal);
        using var file = GgufFile.Open(folder.At("w4.gguf"));
        Assert.Equal(3, file.Find("general.file_type")!.AsInteger());

        var exact = await CommandRun.Succeeds("export", folder.At("w4"), "--to", "gguf", "-o", folder.At("exact.gguf"), "--type", "q5_0");
        Assert.DoesNotContain("note", exact.Output, StringComparison.Ordinal);
        Assert.Contains("21 Q5_0", exact.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Export_refuses_what_no_block_holds_and_says_which_scheme_would_be_exact()
    {
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g16", "--output", folder.At("g16"));
        var run = await CommandRun.Of("export", folder.At("g16"), "--to", "gguf", "-o", folder.At("g16.gguf"));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("no block type can hold", run.Error, StringComparison.Ordinal);
        Assert.Contains("symmetric weights of 2 to 4 bits in Q4_0", run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("g16.gguf")));
        await CommandRun.Succeeds("export", folder.At("g16"), "--to", "gguf", "-o", folder.At("g16.gguf"), "--type", "f16");

        var occupied = await CommandRun.Of("export", folder.At("g16"), "--to", "gguf", "-o", folder.At("g16.gguf"));
        Assert.Equal(ExitCode.BadInput, occupied.ExitCode);
        Assert.Contains("exists already", occupied.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Export_keeps_ragged_rows_in_half_precision()
    {
        await CommandRun.Succeeds("ptq", folder.Model, "--recipe", "w4a16-g32", "--output", folder.At("tiny"));
        var run = await CommandRun.Succeeds("export", folder.At("tiny"), "--to", "gguf", "-o", folder.At("tiny.gguf"));
        Assert.Contains("7 quantized matrices stay F16", run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, 64)]
    [InlineData("w8a16-g32-sym", 64)]
    [InlineData("w4a16-g32-sym", 0)]
    [InlineData("w4a16-g32", 0)]
    [InlineData("wta16-g256", 0)]
    public async Task The_built_in_model_is_the_same_in_llama_cpp(string? recipe, int greedy)
    {
        LlamaCpp.RequireFolder();
        var model = BuiltInModel.Folder;
        if (recipe is not null)
        {
            await CommandRun.Succeeds("ptq", model, "--recipe", recipe, "--output", folder.At("quantized"), "--threads", "1");
            model = folder.At("quantized");
        }

        var run = await CommandRun.Succeeds("verify", model, "--data", BuiltInModel.EvaluationText, "--windows", "4", "--threads", "1", "--json");
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
        Assert.InRange(run.Json.GetProperty("sameGreedyTokens").GetInt32(), greedy, 64);
        Assert.InRange(run.Json.GetProperty("agreement").GetDouble(), 0.97, 1);
    }

    [Fact]
    public async Task Verify_ends_with_another_code_where_the_engine_differs()
    {
        LlamaCpp.RequireFolder();
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "--recipe", "w4a16-g32-sym", "--output", folder.At("w4"));
        var run = await CommandRun.Of("verify", folder.At("w4"), "--data", BuiltInModel.EvaluationText, "--windows", "1", "--threads", "1", "--tolerance", "0");
        Assert.Equal(ExitCode.NoSolution, run.ExitCode);
        Assert.EndsWith("differs", run.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Verify_says_where_llama_cpp_is_looked_for()
    {
        var run = await CommandRun.Of("verify", BuiltInModel.Folder, "--data", BuiltInModel.EvaluationText, "--engine-path", folder.Root);
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("give the folder of llama.cpp's shared libraries", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void The_engine_tells_why_it_refuses_a_file()
    {
        var libraries = LlamaCpp.RequireFolder();
        var exception = Assert.Throws<NibbleException>(() => LlamaCppEngine.Start(libraries, folder.Write("no.gguf", "GGUF"), 64, 1).Dispose());
        Assert.Contains("cannot load", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, null, 3.7886, 64)]
    [InlineData("ptq", "w8a16-g32-sym", null, 64)]
    [InlineData("ptq", "w4a16-g32", null, 0)]
    [InlineData("qat", "w4a16-g32-sym", null, 0)]
    [InlineData("qat", "w4a16-g32", null, 0)]
    public async Task Stories260K_is_the_same_in_llama_cpp(string? method, string? recipe, double? perplexity, int greedy)
    {
        LlamaCpp.RequireFolder();
        var model = SharedData.Require("stories260K");
        if (recipe is not null)
        {
            string[] training = method == "qat" ? ["--data", SharedData.Require("tinystories/train.txt"), "--steps", "2", "--threads", "1"] : [];
            await CommandRun.Succeeds([method!, model, "--recipe", recipe, "--output", folder.At("stories"), .. training]);
            model = folder.At("stories");
        }

        string[] windows = ["--windows", perplexity is null ? "4" : "20"];
        var run = await CommandRun.Succeeds(["verify", model, "--data", SharedData.Require("tinystories/valid.txt"), "--threads", "1", "--json", .. windows]);
        Assert.InRange(run.Json.GetProperty("sameGreedyTokens").GetInt32(), greedy, 64);
        Assert.Equal(perplexity ?? run.Json.GetProperty("enginePerplexity").GetDouble(), run.Json.GetProperty("enginePerplexity").GetDouble(), 0.0005);
    }
}
