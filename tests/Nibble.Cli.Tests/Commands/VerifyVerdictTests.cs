using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary>What <c>nibble verify</c> calls the same: files whose difference is explained by how the engine rounds, and no others.</summary>
[Collection(OneAtATime.Name)]
public sealed class VerifyVerdictTests
{
    [Theory]
    [InlineData(1e-5, "same")]
    [InlineData(1e-4, "differs")]
    [InlineData(1e-3, "differs")]
    public async Task AnotherEpsilonInAFloatFileIsFoundInLlamaCpp(double epsilon, string verdict)
    {
        LlamaCpp.RequireFolder();
        using var folder = new TinyFolder(layers: 2, hidden: 64, inner: 96, spread: 0.5);
        folder.WriteConfig("llama", epsilon);
        await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "--type", "f32", "-o", folder.At("f32.gguf"));
        folder.WriteConfig("llama");

        await HasVerdict(verdict, folder, "verify", folder.Model, "--file", folder.At("f32.gguf"));
    }

    [Theory]
    [InlineData(1e-5, "same")]
    [InlineData(1e-4, "differs")]
    public async Task AnotherEpsilonIsFoundInOnnxRuntime(double epsilon, string verdict)
    {
        using var folder = new TinyFolder(layers: 2, hidden: 64, inner: 96, spread: 0.5);
        folder.WriteConfig("llama", epsilon);
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("float.onnx"));
        folder.WriteConfig("llama");

        await HasVerdict(verdict, folder, "verify", folder.Model, "--engine", "onnxruntime", "--file", folder.At("float.onnx"));
    }

    /// <remarks>These models amplify what is rounded: perplexities move by several percent though every code is right.</remarks>
    [Theory]
    [InlineData("f16")]
    [InlineData("q8_0")]
    [InlineData("q4_0")]
    [InlineData("q4_1")]
    [InlineData("q5_0")]
    public async Task ARightFileOfAModelThatAmplifiesRoundingIsTheSame(string type)
    {
        LlamaCpp.RequireFolder();
        using var folder = new TinyFolder(layers: 4, hidden: 64, inner: 96, spread: 2);
        await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "--type", "f16", "-o", folder.At("f16.gguf"));
        if (type != "f16")
        {
            await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", type, "--pure", "-o", folder.At($"{type}.gguf"));
        }

        await HasVerdict("same", folder, "verify", folder.At($"{type}.gguf"));
    }

    [Fact]
    public async Task AToleranceThatIsGivenDecidesAlone()
    {
        LlamaCpp.RequireFolder();
        using var folder = new TinyFolder(layers: 2, hidden: 64, inner: 96, spread: 0.5);
        folder.WriteConfig("llama", 1e-3);
        await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "--type", "f32", "-o", folder.At("f32.gguf"));
        folder.WriteConfig("llama");

        await HasVerdict("same", folder, "verify", folder.Model, "--file", folder.At("f32.gguf"), "--tolerance", "100");
        await HasVerdict("differs", folder, "verify", folder.Model, "--file", folder.At("f32.gguf"), "--tolerance", "100", "--logit-tolerance", "1e-9");
    }

    private static async Task HasVerdict(string verdict, TinyFolder folder, params string[] command)
    {
        var run = await CommandRun.Of([.. command, "--data", folder.EvaluationText, "--threads", "1", "--json"]);

        Assert.True(run.ExitCode == (verdict == "same" ? ExitCode.Done : ExitCode.NoSolution), run.Error + run.Output);
        Assert.Equal(verdict, run.Json.GetProperty("verdict").GetString());
    }
}
