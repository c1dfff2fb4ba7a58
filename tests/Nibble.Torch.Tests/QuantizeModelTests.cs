using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Tests.Shared;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests;

/// <summary>The verbs for models, from folder to folder and in memory: of a decoder, an encoder and a TorchSharp module.</summary>
public sealed class QuantizeModelTests : IDisposable
{
    private static readonly Recipe Int4 = RecipePresets.Parse("w4a16-g8");

    private readonly TemporaryFolder folder = new();
    private readonly List<string> warned = [];

    public void Dispose() => folder.Dispose();

    [Fact]
    public void PtqOfADecoderGivesTheSameInMemoryAndOnDisk()
    {
        var model = new TinyLlama().Write(folder.File("tiny"));
        var recipe = RecipePresets.Parse("w4a16-g8-gptq");
        var text = folder.Write("text.txt", new string([.. Enumerable.Range(0, 5000).Select(i => (char)('a' + (i * i % 23)))]));
        var progress = new Told();

        var estimate = Quantize.EstimatePtq(model, recipe, new PtqOptions { DataFiles = [text] });
        var result = Quantize.Ptq(model, recipe, folder.File("out"), new PtqOptions { DataFiles = [text], Logger = new ListLogger(warned) }, progress);
        using var loaded = LoadedModel.Open(model);
        var inMemory = Quantize.Ptq(loaded, recipe, new PtqOptions { Data = TokenizedText.Read(text, loaded.Tokenizer) });
        QuantizedModelFile.Save(inMemory, folder.File("again"));

        Assert.Equal(14, result.Layers);
        Assert.Equal(estimate.Bytes, result.Bytes);
        Assert.Equal(14, progress.All.Count(step => step.Stage == "quantize"));
        Assert.Equal(result.Summary.Warnings.Where(warning => !warning.StartsWith("the artifact", StringComparison.Ordinal)), warned);
        Assert.Equal(TemporaryFolder.Contents(folder.File("out")), TemporaryFolder.Contents(folder.File("again")));
        Assert.Equal(result.Summary.Kept, inMemory.Summary!.Kept);
    }

    [Fact]
    public void PtqIsCancelledAndResumedByTheSameCall()
    {
        var model = new TinyLlama().Write(folder.File("tiny"));
        using var cancellation = new CancellationTokenSource();
        var progress = new Told(step =>
        {
            if (step.Done == 8)
            {
                cancellation.Cancel();
            }
        });
        Assert.ThrowsAny<OperationCanceledException>(() => Quantize.Ptq(model, Int4, folder.File("out"), progress: progress, cancellation: cancellation.Token));
        Assert.False(Directory.Exists(folder.File("out")));
        Quantize.Ptq(model, Int4, folder.File("out"));
        Quantize.Ptq(model, Int4, folder.File("straight"));
        Assert.Equal(TemporaryFolder.Contents(folder.File("straight")), TemporaryFolder.Contents(folder.File("out")));
    }

    [Fact]
    public async Task RunsAtTheSameTimeGiveTheSameBytesAsOneAfterAnother()
    {
        var model = new TinyLlama().Write(folder.File("tiny"));
        var text = Texts.Random(2000);
        var gptq = RecipePresets.Parse("w4a16-g8-gptq");
        var qat = Int4 with { Qat = Int4.Qat with { Steps = 4, BatchSize = 2 } };
        Action<string>[] runs =
        [
            output => Quantize.Ptq(model, gptq, output, new PtqOptions { Data = text }),
            output => Quantize.Ptq(model, RecipePresets.Parse("w8a8"), output, new PtqOptions { Data = text }),
            output => Quantize.Qat(model, qat, output, new QatOptions { Data = text }),
            output => Quantize.Qat(model, qat, output, new QatOptions { Data = text, Seed = 2 }),
        ];

        foreach (var (i, run) in runs.Index())
        {
            run(folder.File($"alone{i}"));
        }

        await Task.WhenAll(runs.Select((run, i) => Task.Run(() => run(folder.File($"together{i}")), TestContext.Current.CancellationToken)));

        Assert.All(Enumerable.Range(0, runs.Length), i =>
            Assert.Equal(TemporaryFolder.Contents(folder.File($"alone{i}")), TemporaryFolder.Contents(folder.File($"together{i}"))));
    }

    [Fact]
    public void QatOfADecoderGivesTheSameInMemoryAndOnDiskAndCompares()
    {
        var model = new TinyLlama().Write(folder.File("tiny"));
        var recipe = Int4 with { Qat = Int4.Qat with { Steps = 6, BatchSize = 2 } };
        var text = Texts.Random(2000);

        var result = Quantize.Qat(model, recipe, folder.File("out"), new QatOptions { Data = text, Logger = new ListLogger(warned) });
        using var loaded = LoadedModel.OpenToTrain(model, recipe);
        var inMemory = Quantize.Qat(loaded, recipe, new QatOptions { Data = text });
        QuantizedModelFile.Save(inMemory, folder.File("again"));
        using var original = LoadedModel.Open(model);
        var compared = Quantize.Compare(original, inMemory, text, new CompareOptions { Count = 4, Context = 32 });

        Assert.Equal(6, result.Losses.Count);
        Assert.Equal(TemporaryFolder.Contents(folder.File("out")), TemporaryFolder.Contents(folder.File("again")));
        Assert.Equal("perplexity", compared.Float.Main.Name);
        Assert.Equal(4, compared.Quantized.Count);
        Assert.Null(compared.Float.Divergence);
        Assert.InRange(compared.Quantized.Divergence!.Value, 1e-6, 1);
        Assert.Equal(compared.Quantized.Loss - compared.Float.Loss, compared.LossIncrease);
    }

    [Fact]
    public void QatWithoutDataLetsADecoderWriteThem()
    {
        var model = new TinyLlama().Write(folder.File("tiny"));
        var recipe = Int4 with { Qat = Int4.Qat with { Steps = 2, BatchSize = 2 } };
        var expected = "4 windows of 64 tokens of text that the float model wrote itself";

        Assert.Equal(expected, Quantize.Qat(model, recipe, folder.File("out")).Artifact.Calibration);
        using var loaded = LoadedModel.Open(model);
        Assert.Equal(expected, Quantize.Qat(loaded, recipe).Provenance.Calibration);
    }

    [Fact]
    public void AnEncoderWalksTheSameVerbs()
    {
        var model = new TinyBert().Write(folder.File("bert"));
        var data = folder.Write("data.tsv", string.Concat(Enumerable.Range(0, 24).Select(i => $"w{9 + i} {(i % 2 == 0 ? "good" : "bad")} film\t{i % 2}\n")));
        var statically = RecipePresets.Parse("w8a8-static");
        var trained = statically with { Qat = statically.Qat with { Steps = 3, BatchSize = 4 } };

        Quantize.Ptq(model, statically, folder.File("ptq"), new PtqOptions { DataFiles = [data] });
        Quantize.Qat(model, trained, folder.File("qat"), new QatOptions { DataFiles = [data] });
        foreach (var output in (string[])["ptq", "qat"])
        {
            var compared = Quantize.Compare(model, folder.File(output), data, new CompareOptions { Count = 20 });
            Assert.Equal(Classification.Accuracy, compared.Quantized.Main.Name);
            Assert.Equal(20, compared.Float.Count);
            Assert.NotNull(compared.Quantized.Agreement);
        }
    }

    [Fact]
    public void NotesOfTheDataAreLogged()
    {
        var model = new TinyBert().Write(folder.File("bert"));
        var data = folder.Write("data.tsv", $"{string.Join(' ', Enumerable.Repeat("good", 40))}\t1\nbad film\t0\n");
        Quantize.Compare(model, model, data, new CompareOptions { Logger = new ListLogger(warned) });
        Assert.StartsWith("1 of the 2 texts of data.tsv", Assert.Single(warned), StringComparison.Ordinal);
    }

    [Fact]
    public void AModuleIsQuantizedAndTrained()
    {
        manual_seed(3);
        using var network = new SmallCnn();
        using var images = randn(8, 2, 8, 8);
        using var wanted = network.forward(images).detach();
        var static8 = new RecipeRule(
            "*", new QuantizationScheme(3, symmetric: true, Granularity.Channel),
            new ActivationRule(new QuantizationScheme(8, symmetric: false, Granularity.Tensor)));
        var recipe = new Recipe("w3a8", [static8]) { Qat = new QatSettings { Steps = 40, LearningRate = 5e-3 } };
        using var other = new SmallCnn();
        other.load_state_dict(network.state_dict());
        var progress = new Told();

        var rounded = Quantize.Ptq(network, recipe, new ModuleOptions { Batches = [images.clone()] });
        var trained = Quantize.Qat(
            other, recipe, _ => nn.functional.mse_loss(other.forward(images), wanted), new ModuleOptions { Batches = [images.clone()], Seed = 5 }, progress);

        Assert.Equal((40, "train"), (progress.All.Count, progress.All[^1].Stage));
        Assert.Equal("qat", trained.Provenance.Method);
        Assert.False(other.training);
        Assert.True(Error(trained) < Error(rounded));

        double Error(QuantizedModel model)
        {
            using var scope = NewDisposeScope();
            using var fresh = new SmallCnn();
            fresh.eval();
            QuantizationAware.Load(fresh, model);
            return nn.functional.mse_loss(fresh.forward(images), wanted).item<float>();
        }
    }

    [Fact]
    public void SeveralFilesAreOneBodyOfText()
    {
        var model = new TinyLlama().Write(folder.File("tiny"));
        string[] files = [folder.Write("a.txt", new string('a', 2000)), folder.Write("b.txt", string.Concat(Enumerable.Repeat("bcd", 1000)))];
        using var loaded = LoadedModel.Open(model);
        var gptq = RecipePresets.Parse("w4a16-g8-gptq");

        Quantize.Ptq(model, gptq, folder.File("files"), new PtqOptions { DataFiles = files });
        Quantize.Ptq(model, gptq, folder.File("first"), new PtqOptions { DataFiles = files[..1] });
        Quantize.Ptq(model, gptq, folder.File("text"), new PtqOptions { Data = TokenizedText.Read(files, loaded.Tokenizer) });

        Assert.Equal(TemporaryFolder.Contents(folder.File("text")), TemporaryFolder.Contents(folder.File("files")));
        Assert.NotEqual(TemporaryFolder.Contents(folder.File("first")), TemporaryFolder.Contents(folder.File("files")));
    }

    [Fact]
    public void RefusesTwoSourcesOfDataAndWhatAModuleCannot()
    {
        var both = new PtqOptions { Data = Texts.Random(100), DataFiles = ["text.txt"] };
        Assert.Contains("both set", Assert.Throws<ArgumentException>(() => Quantize.Ptq("model", Int4, "out", both)).Message, StringComparison.Ordinal);
        using var module = nn.Sequential(("fc", nn.Linear(4, 4)));
        var taught = Int4 with { Qat = Int4.Qat with { Distillation = new DistillationSettings() } };
        Assert.Contains("uses distillation", Assert.Throws<NibbleException>(() => Quantize.Qat(module, taught, _ => zeros(1))).Message,
            StringComparison.Ordinal);
    }
}
