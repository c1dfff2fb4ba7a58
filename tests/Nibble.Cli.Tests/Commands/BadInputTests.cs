using System.Text;

namespace Nibble.Cli.Tests.Commands;

/// <summary>What cannot be used is refused with one line that says what and where, and nothing is written.</summary>
[Collection(OneAtATime.Name)]
public sealed class BadInputTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("inspect")]
    [InlineData("eval")]
    [InlineData("generate")]
    [InlineData("ptq")]
    [InlineData("qat")]
    [InlineData("compare")]
    public Task AMissingFolder(string command) => Refuses(CommandOn(command, folder.At("nowhere")), $"There is no folder {folder.At("nowhere")}.");

    [Theory]
    [InlineData("inspect")]
    [InlineData("ptq")]
    [InlineData("qat")]
    [InlineData("compare")]
    public Task AnUnknownModelType(string command)
    {
        folder.WriteConfig("gpt2");

        return Refuses(CommandOn(command, folder.Model), "config.json: model_type is 'gpt2'", "supported: llama");
    }

    [Theory]
    [InlineData("inspect")]
    [InlineData("ptq")]
    public Task AMixtureOfExperts(string command)
    {
        folder.WriteConfig("mixtral");

        return Refuses(CommandOn(command, folder.Model), "mixture-of-experts models are not supported", "types llama, mistral");
    }

    [Theory]
    [InlineData("inspect")]
    [InlineData("ptq")]
    [InlineData("compare")]
    public Task ATruncatedSafetensorsFile(string command)
    {
        using (var file = File.OpenWrite(folder.Weights))
        {
            file.SetLength(file.Length - 100);
        }

        return Refuses(CommandOn(command, folder.Model), folder.Weights);
    }

    [Fact]
    public Task AHeaderThatLiesAboutOffsets()
    {
        var bytes = File.ReadAllBytes(folder.Weights);
        var length = checked((int)BitConverter.ToInt64(bytes));
        var header = Encoding.UTF8.GetString(bytes, 8, length);
        var lie = header.Replace("\"data_offsets\":[0,", "\"data_offsets\":[4,", StringComparison.Ordinal);
        Assert.NotEqual(header, lie);
        Encoding.UTF8.GetBytes(lie).CopyTo(bytes, 8);
        File.WriteAllBytes(folder.Weights, bytes);

        return Refuses(CommandOn("ptq", folder.Model), folder.Weights, "lm_head.weight");
    }

    [Fact]
    public Task ACheckpointWithoutOneOfItsTensors()
    {
        folder.WriteWeights(name => name != "model.norm.weight");

        return Refuses(CommandOn("ptq", folder.Model), "lacks the tensor 'model.norm.weight'");
    }

    [Theory]
    [InlineData("eval", "eval.txt")]
    [InlineData("qat", "train.txt")]
    [InlineData("compare", "eval.txt")]
    [InlineData("compare", "train.txt")]
    public Task ATextShorterThanOneWindow(string command, string text)
    {
        folder.Write(text, "Too short.");

        return Refuses(CommandOn(command, folder.Model), $"{text}: the text has ", "expected at least one window of 64");
    }

    [Theory]
    [InlineData("eval", "eval.txt")]
    [InlineData("qat", "train.txt")]
    public Task AMissingText(string command, string text)
    {
        File.Delete(folder.At(text));

        return Refuses(CommandOn(command, folder.Model), $"{folder.At(text)}: no such text file");
    }

    [Theory]
    [InlineData("ptq")]
    [InlineData("qat")]
    public Task AnUnknownKeyOfARecipe(string command)
    {
        var recipe = folder.Write("mine.yaml", "rules:\n  - pattern: \"*\"\n    weights: { bits: 4, groupsize: 32 }\n");

        return RefusesAsUsage([.. CommandOn(command, folder.Model)[..^1], recipe], $"{recipe}", "groupsize", "groupSize");
    }

    [Theory]
    [InlineData("ptq")]
    [InlineData("qat")]
    public Task AnUnknownPreset(string command) =>
        RefusesAsUsage([.. CommandOn(command, folder.Model)[..^1], "w4a16-g23x"], "There is no preset 'w4a16-g23x'", "w4a16-g32");

    [Fact]
    public Task AMissingRecipeFile() => RefusesAsUsage([.. CommandOn("ptq", folder.Model)[..^1], "missing.yaml"], "There is no recipe file missing.yaml.");

    [Fact]
    public Task AWeightThatIsNotANumber()
    {
        folder.RuinAWeight();
        var recipe = folder.Write("all.yaml", "rules:\n  - pattern: \"*\"\n    weights: { bits: 4 }\n");

        return Refuses([.. CommandOn("ptq", folder.Model)[..^1], recipe], "model: tensor 'lm_head.weight' holds NaN at [0, 0], expected finite values");
    }

    /// <summary>Tensors that no recipe quantizes are looked at too, by whatever reads or copies them.</summary>
    [Theory]
    [InlineData("inspect")]
    [InlineData("generate")]
    [InlineData("eval")]
    [InlineData("ptq")]
    [InlineData("qat")]
    [InlineData("compare")]
    [InlineData("imatrix")]
    [InlineData("gguf")]
    [InlineData("onnx")]
    public Task ANormThatIsNotANumber(string command)
    {
        folder.RuinATensor("model.layers.0.input_layernorm.weight", 5);
        string[] arguments = command is "gguf" or "onnx" ? ["export", folder.Model, "--to", command, "-o", folder.At("out")] : CommandOn(command, folder.Model);
        return Refuses(arguments, $"{folder.Model}: tensor 'model.layers.0.input_layernorm.weight' holds NaN at [5], expected finite values");
    }

    [Theory]
    [InlineData("\"rms_norm_eps\": 1E-05", "\"rms_norm_eps\": -1", "'rms_norm_eps' is -1")]
    [InlineData("\"rms_norm_eps\": 1E-05", "\"rope_theta\": 0", "'rope_theta' is 0")]
    public async Task AConfigurationThatGivesNoNumbers(string from, string to, string complaint)
    {
        var path = Path.Combine(folder.Model, "config.json");
        File.WriteAllText(path, File.ReadAllText(path).Replace(from, to, StringComparison.Ordinal));
        foreach (var command in (string[])["eval", "ptq", "qat"])
        {
            await Refuses(CommandOn(command, folder.Model), $"config.json: {complaint}, expected a number above 0");
        }
    }

    /// <summary>Weights that are finite one by one and overflow together.</summary>
    [Theory]
    [InlineData("eval")]
    [InlineData("compare")]
    public Task AModelThatOverflows(string command)
    {
        folder.RuinATensor("model.layers.0.mlp.up_proj.weight", 0, 3e38f);
        folder.RuinATensor("model.layers.0.mlp.up_proj.weight", 1, 3e38f);
        return Refuses(CommandOn(command, folder.Model),
            "the model computes NaN or infinite values on this text, first in the input of 'model.layers.0.mlp.down_proj'");
    }

    [Theory]
    [InlineData("eval", "eval.txt")]
    [InlineData("qat", "train.txt")]
    public Task ATextInAnotherEncoding(string command, string text)
    {
        File.WriteAllBytes(folder.At(text), Encoding.Latin1.GetBytes("Plain.\nUn caf\u00e9 noir."));
        return Refuses(CommandOn(command, folder.Model), $"{text}: byte 0xE9 at offset 13 (line 2) is not UTF-8");
    }

    [Fact]
    public Task ARecipeInAnotherEncoding()
    {
        var recipe = folder.At("latin.yaml");
        File.WriteAllBytes(recipe, Encoding.Latin1.GetBytes("name: caf\u00e9\npreset: w8a8\n"));
        return RefusesAsUsage([.. CommandOn("ptq", folder.Model)[..^1], recipe], "latin.yaml: byte 0xE9 at offset 9 (line 1) is not UTF-8");
    }

    [Fact]
    public Task ARecipeThatMatchesNothing()
    {
        var recipe = folder.Write("mine.yaml", "rules:\n  - pattern: encoder.*\n    weights: { bits: 4 }\n");

        return Refuses([.. CommandOn("ptq", folder.Model)[..^1], recipe], "matches none of the 8 linear layers", "model.layers.0.");
    }

    [Fact]
    public Task StaticActivationsWithoutText() =>
        Refuses(["ptq", folder.Model, "-o", folder.At("out"), "--recipe", "w8a8-static"], "needs calibration data", "--data");

    [Theory]
    [InlineData("ptq")]
    [InlineData("qat")]
    [InlineData("compare")]
    public Task AnOutputFolderThatExists(string command)
    {
        Directory.CreateDirectory(folder.At("out"));

        return Refuses(CommandOn(command, folder.Model), $"{folder.At("out")}: the output folder exists already");
    }

    [Theory]
    [InlineData("ptq")]
    [InlineData("qat")]
    [InlineData("compare")]
    [InlineData("imatrix")]
    public async Task AnArtifactCannotBeQuantizedAgain(string command)
    {
        await CommandRun.Succeeds("ptq", folder.Model, "-r", "w4a16-g32", "-o", folder.At("artifact"));

        await Refuses(
            CommandOn(command, folder.At("artifact")), "this is an artifact, written by ptq with the recipe 'w4a16-g32', expected a float checkpoint");
    }

    [Fact]
    public Task AContextThatTheModelCannotTake() =>
        RefusesAsUsage([.. CommandOn("eval", folder.Model), "--context", "65"], "--context is 65, expected at most 64");

    [Fact]
    public Task ACalibrationWindowThatTheModelCannotTake() =>
        RefusesAsUsage(["ptq", folder.Model, "-r", "w8a8-static", "-d", folder.TrainingText, "-o", folder.At("out"), "--length", "65"],
            "--length is 65, expected at most 64");

    [Fact]
    public Task WindowsOfATextThatIsTrainedOnAsAWhole() =>
        RefusesAsUsage([.. CommandOn("qat", folder.Model), "--windows", "3"], "--windows has no effect here: it is for --data self");

    [Fact]
    public Task DataThatTheModelWritesNextToAFile() =>
        RefusesAsUsage(
            [.. CommandOn("qat", folder.Model), "--data", "self"], "--data self has the float model write the data, and cannot be combined with files");

    [Fact]
    public Task APromptThatFillsTheContext() =>
        Refuses(["generate", folder.Model, "--prompt", new string('x', 80)], "the prompt has ", "the model's context of 64");

    /// <summary>A command line that would succeed on a good model; that of ptq and qat ends with the recipe's name.</summary>
    private string[] CommandOn(string command, string model) => command switch
    {
        "inspect" => [command, model],
        "generate" => [command, model, "-p", "The fox"],
        "eval" => [command, model, "-d", folder.EvaluationText],
        "imatrix" => [command, model, "-d", folder.TrainingText, "-o", folder.At("out")],
        "ptq" => [command, model, "-o", folder.At("out"), "-r", "w4a16-g32"],
        "qat" => [command, model, "-d", folder.TrainingText, "--steps", "1", "-o", folder.At("out"), "-r", "w4a16-g32"],
        _ => [command, model, "-d", folder.TrainingText, "-e", folder.EvaluationText, "--steps", "1", "-o", folder.At("out")],
    };

    private Task Refuses(string[] arguments, params string[] expected) => Refuses(ExitCode.BadInput, arguments, expected);

    /// <summary>What the command line itself names is at fault.</summary>
    private Task RefusesAsUsage(string[] arguments, params string[] expected) =>
        Refuses(ExitCode.Usage, arguments, [.. expected, $"Try 'nibble {arguments[0]} --help'."]);

    private async Task Refuses(int exitCode, string[] arguments, string[] expected)
    {
        var before = folder.Content();

        var run = await CommandRun.Of(arguments);

        Assert.True(run.ExitCode == exitCode, run.Error);
        Assert.Empty(run.Output);
        Assert.Contains(run.Error.Split('\n'), line => line.StartsWith("nibble: ", StringComparison.Ordinal));
        Assert.All(expected, text => Assert.Contains(text, run.Error, StringComparison.Ordinal));
        Assert.DoesNotContain("   at ", run.Error, StringComparison.Ordinal);
        Assert.Equal(before, folder.Content());
    }
}
