using Nibble.Cli.Comparison;
using Nibble.Formats.Gguf;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Every family of decoders through the program: quantized, trained, exported, and run in ONNX Runtime and llama.cpp.</summary>
[Collection(OneAtATime.Name)]
public sealed class DecoderFamilyTests : IDisposable
{
    /// <summary>What llama.cpp's architectures cannot compute.</summary>
    private static readonly Dictionary<string, string> Refused = new()
    {
        ["gemma2-types"] = "windows in other layers than llama.cpp's, which leaves out the last of every 2 (layer_types)",
        ["gemma3-types"] = "windows in other layers than llama.cpp's, which leaves out the last of every 6 (layer_types)",
        ["smollm3-list"] = "rotary embeddings in other layers than llama.cpp's, which leaves out the last of every 4 (no_rope_layers)",
    };

    private static readonly string[] Window = ["--data", BuiltInModel.EvaluationText, "--windows", "4", "--context", "32", "--threads", "1", "--json"];

    private readonly TinyFolder folder = new();

    public static TheoryData<string> Names => [.. ReferenceDecoder.Names];

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public async Task FloatModelsAreTheSameInOnnxRuntime(string name) =>
        await VerifyAsync(Write(name), "--engine", "onnxruntime");

    [Theory]
    [MemberData(nameof(Names))]
    public async Task FloatModelsAreTheSameInLlamaCppOrRefused(string name)
    {
        LlamaCpp.RequireFolder();
        var model = Write(name);
        if (!Refused.TryGetValue(name, out var cause))
        {
            await VerifyAsync(model, "--type", "f32", "--tolerance", "0.1", "--logit-tolerance", "0.05");
            return;
        }

        var run = await CommandRun.Of("export", model, "--to", "gguf", "--type", "f32", "-o", folder.At("model.gguf"));
        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains($" with {cause} cannot be stored in a GGUF file", run.Error, StringComparison.Ordinal);
    }

    /// <summary>The mixtures have rules for names of tensors that only some families have.</summary>
    [Theory]
    [InlineData("gemma3")]
    [InlineData("phi3")]
    [InlineData("olmo2")]
    public async Task FilesAreQuantizedToTheTypesOfLlamaCppsQuantizer(string name)
    {
        LlamaCpp.RequireFolder();
        await CommandRun.Succeeds("export", Write(name), "--to", "gguf", "--type", "f16", "-o", folder.At("f16.gguf"));
        foreach (var mixture in GgufMixture.All.Where(mixture => mixture.Name != "mxfp4"))
        {
            var (ours, theirs) = (folder.At($"{mixture.Name}-ours.gguf"), folder.At($"{mixture.Name}-theirs.gguf"));
            await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", mixture.Name, "-o", ours);
            LlamaCppQuantizer.Run(folder.At("f16.gguf"), theirs, mixture.FileType);
            using var file = GgufFile.Open(ours);
            using var other = GgufFile.Open(theirs);
            Assert.Equal(other.Tensors.Select(tensor => $"{mixture.Name} {tensor.Name} {tensor.Type}"),
                other.Tensors.Select(tensor => $"{mixture.Name} {tensor.Name} {file.FindTensor(tensor.Name)!.Type}"));
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public async Task QuantizedModelsAreTheSameInTheEngines(string name)
    {
        LlamaCpp.RequireFolder();
        var model = Write(name);
        string[] shared = ["--data", BuiltInModel.EvaluationText, "--length", "32", "--threads", "1"];
        await CommandRun.Succeeds(["ptq", model, "--recipe", "w4a16-g32-gptq", "--windows", "4", "--output", folder.At("ptq"), .. shared]);
        await CommandRun.Succeeds(["qat", model, "--recipe", "w4a16-g32", "--steps", "2", "--batch-size", "2", "--output", folder.At("qat"), .. shared]);
        await CommandRun.Succeeds(["ptq", model, "--recipe", "w8a8-smoothquant", "--windows", "4", "--output", folder.At("smooth"), .. shared]);
        foreach (var artifact in (string[])["ptq", "qat", "smooth"])
        {
            await VerifyAsync(folder.At(artifact), "--engine", "onnxruntime", "--logit-tolerance", "1");
            if (artifact != "smooth" && !Refused.ContainsKey(name))
            {
                // Random weights turn rounding of inputs into large differences of single logits.
                await VerifyAsync(folder.At(artifact), "--tolerance", "5", "--logit-tolerance", "10");
            }
        }
    }

    // llama.cpp looks for the tokens of Phi-3 if the model's name is like that.
    private string Write(string name) => ReferenceDecoder.Load(name).Write(folder.At("model"));

    private static async Task VerifyAsync(string model, params string[] options)
    {
        var run = await CommandRun.Succeeds(["verify", model, .. Window, .. options]);
        Assert.Equal("same", run.Json.GetProperty("verdict").GetString());
    }
}
