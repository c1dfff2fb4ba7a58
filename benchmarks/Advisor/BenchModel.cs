using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Models.Decoders;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Qat;
using TorchSharp;

namespace Nibble.Benchmarks.Advisor;

/// <summary>A model with its texts: one to train on, one that the advisor may look at, one that it never sees.</summary>
internal sealed record BenchModel(string Name, string Folder, TokenizedText Training, TokenizedText Probe, TokenizedText Test, double? Rate = null)
{
    /// <summary>Tokens of a window in training, calibration and scoring: short, so that many runs fit into minutes of one core.</summary>
    public const int Length = 128;

    private const int ProbeWindows = 40;
    private const int TestWindows = 120;

    public static IReadOnlyList<string> Names { get; } = ["stories", "builtin", "stories-wiki", "wiki-tuned", "small"];

    /// <summary>Finds a model, or trains it.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="data">The folder with stories260K, tinystories and wikitext-2.</param>
    /// <param name="work">Keeps the models that are trained here.</param>
    public static BenchModel Open(string name, string data, string work)
    {
        string Data(string path) => Path.Combine(data, path);
        var stories = Data("stories260K");
        var (train, valid) = (Data("tinystories/train.txt"), Data("tinystories/valid.txt"));
        var (wiki, wikiTest) = (Data("wikitext-2/valid.txt"), Data("wikitext-2/test.txt"));
        const string Samples = "samples/storyteller/";
        return name switch
        {
            "stories" => Read(name, stories, train, valid),
            "builtin" => Read(name, Samples + "model", Samples + "data/train.txt", Samples + "data/eval.txt") with { Rate = 2e-4 },
            "stories-wiki" => Read(name, stories, wiki, wikiTest),
            "wiki-tuned" => Read(name, Made(work, name, stories, wiki, config => config, 300, 1e-3), wiki, wikiTest),
            "small" => Read(name, Made(work, name, stories, train, Smaller, 700, 4e-3), train, valid),
            _ => throw new NibbleException($"there is no model '{name}', expected one of {string.Join(", ", Names)}"),
        };
    }

    private static string Smaller(string config) => config
        .Replace("\"hidden_size\": 64", "\"hidden_size\": 96", StringComparison.Ordinal)
        .Replace("\"intermediate_size\": 172", "\"intermediate_size\": 192", StringComparison.Ordinal)
        .Replace("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 3", StringComparison.Ordinal);

    private static BenchModel Read(string name, string folder, string training, string evaluation)
    {
        var tokenizer = TextTokenizer.Load(folder);
        var held = TokenizedText.Read(evaluation, tokenizer);
        var probe = ProbeWindows * Length;
        return new BenchModel(
            name, folder, TokenizedText.Read(training, tokenizer), held with { Ids = held.Ids[..probe] },
            held with { Ids = held.Ids[probe..Math.Min(held.Ids.Length, probe + (TestWindows * Length))] });
    }

    /// <summary>Trains a model on a text: from another's weights, or from scratch where its shape differs.</summary>
    private static string Made(string work, string name, string source, string text, Func<string, string> change, int steps, double rate)
    {
        var folder = Path.Combine(work, name);
        if (Directory.Exists(folder))
        {
            return folder;
        }

        using var original = LoadedModel.Open(source);
        var config = change(original.ConfigJson);
        var model = original.Model;
        if (config != original.ConfigJson)
        {
            model = new DecoderModel(DecoderConfig.Parse(config, name));
            model.Initialize(new torch.Generator(1));
        }

        var storedAs = model.Parameters().ToDictionary(item => item.Name, _ => ElementType.F32);
        using var loaded = original with { ConfigJson = config, Model = model, StoredAs = storedAs };
        var settings = new QatSettings { Steps = steps, BatchSize = 8, SequenceLength = Length, LearningRate = rate, WarmUp = 0.03 };
        new QuantizationAwareTrainer(loaded, recipe: null, settings, TokenizedText.Read(text, original.Tokenizer), CalibrationOptions.For(model.Definition), 1)
            .Train();
        var made = folder + ".tmp";
        Directory.CreateDirectory(made);
        File.WriteAllText(Path.Combine(made, Checkpoint.ConfigName), config);
        File.Copy(Path.Combine(source, "tokenizer.model"), Path.Combine(made, "tokenizer.model"));
        SafetensorsWriter.Write(
            Path.Combine(made, Checkpoint.WeightsName),
            [.. model.Parameters().Select(
                item => SafetensorsTensor.FromFloats(item.Name, ElementType.F32, item.Value.shape, item.Value.detach().data<float>().ToArray()))]);
        Directory.Move(made, folder);
        return folder;
    }
}
