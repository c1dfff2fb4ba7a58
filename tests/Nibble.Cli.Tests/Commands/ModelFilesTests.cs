using System.Text.Json.Nodes;

namespace Nibble.Cli.Tests.Commands;

/// <summary>What a model's configuration and tokenizer say, and what they ask for that is not done.</summary>
[Collection(OneAtATime.Name)]
public sealed class ModelFilesTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>A tokenizer that no GGUF file can describe is no surprise for the end of a long run.</summary>
    [Theory]
    [InlineData("ptq", "--target", "gguf:q8_0")]
    [InlineData("ptq", "--target", "gguf:q8_0", "--dry-run")]
    [InlineData("qat", "--target", "gguf:q8_0", "--steps", "1")]
    [InlineData("advise", "--engine", "llama.cpp", "--eval-data", "EVAL")]
    public async Task WhatATargetImpliesIsCheckedBeforeTheWork(string command, params string[] further)
    {
        Change("tokenizer.json", root => root["pre_tokenizer"] = JsonNode.Parse(
            """{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[a-z]+"},"behavior":"Isolated","invert":false}"""
                + """,{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}"""));
        var before = folder.Content();
        var run = await CommandRun.Of([command, folder.Model, "--data", folder.TrainingText, "-o", folder.At("out"),
            .. further.Select(word => word == "EVAL" ? folder.EvaluationText : word)]);
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains("splits text into words by [a-z]+, for which Nibble knows no llama.cpp name", run.Error, StringComparison.Ordinal);
        Assert.Equal(before, folder.Content());
    }

    [Fact]
    public async Task KeysThatNothingIsKnownAboutAreTold()
    {
        Change("config.json", root => root["funny_scale"] = 3);
        var run = await CommandRun.Succeeds("eval", folder.Model, "--data", folder.EvaluationText, "--windows", "1");
        Assert.Contains("config.json: ignored the unknown keys funny_scale; if they change what the model computes, the results do not reflect that", run.Error,
            StringComparison.Ordinal);
        await CommandRun.Succeeds("ptq", folder.Model, "-r", "w8a16-g32", "-o", folder.At("out"));
        var verified = await CommandRun.Succeeds("verify", folder.At("out"), "--data", folder.EvaluationText, "--windows", "1", "--engine",
            "onnxruntime", "--json");
        Assert.Contains("funny_scale", Assert.Single(verified.Json.GetProperty("notes").EnumerateArray()).GetString()!, StringComparison.Ordinal);
    }

    [Fact]
    public async Task KeysThatChangeTheArithmeticAreRefused()
    {
        Change("config.json", root => root["partial_rotary_factor"] = 0.5);
        foreach (var command in (string[][])[["eval", folder.Model, "--data", folder.EvaluationText],
            ["export", folder.Model, "--to", "onnx", "-o", folder.At("x.onnx")],
            ["verify", folder.Model, "--data", folder.EvaluationText, "--engine", "onnxruntime"]])
        {
            var run = await CommandRun.Of(command);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.Contains("'partial_rotary_factor' is 0.5, expected 1 or none", run.Error, StringComparison.Ordinal);
        }
    }

    /// <summary>Windows begin with the token that the tokenizer puts before texts, not with one that config.json names.</summary>
    [Fact]
    public async Task WindowsBeginAsTheTokenizerSays()
    {
        Change("config.json", root => root["bos_token_id"] = 0);
        var with = await Perplexity();
        Assert.Equal(with, await Perplexity("""{"add_bos_token":true,"bos_token":"<s>"}"""));
        Assert.NotEqual(with, await Perplexity("""{"add_bos_token":true,"bos_token":"</s>"}"""));
        var without = await Perplexity("""{"add_bos_token":false,"bos_token":"<s>"}""");
        Assert.NotEqual(with, without);
        File.Delete(Path.Combine(folder.Model, "tokenizer_config.json"));
        Change("tokenizer.json", root => root["post_processor"] = null);
        Assert.Equal(without, await Perplexity());

        async Task<double> Perplexity(string? config = null)
        {
            if (config is not null)
            {
                File.WriteAllText(Path.Combine(folder.Model, "tokenizer_config.json"), config);
            }

            return (await CommandRun.Succeeds("eval", folder.Model, "--data", folder.EvaluationText, "--windows", "1",
                "--json")).Perplexity;
        }
    }

    private void Change(string name, Action<JsonNode> change)
    {
        var path = Path.Combine(folder.Model, name);
        var root = JsonNode.Parse(File.ReadAllText(path))!;
        change(root);
        File.WriteAllText(path, root.ToJsonString());
    }
}
