using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Bert;

/// <summary>A classifier in memory with what belongs to it: tokenizer, configuration, and where it came from.</summary>
/// <param name="Folder">The folder that it, or its tokenizer, was read from.</param>
/// <param name="ConfigJson">The text of its <c>config.json</c>.</param>
/// <param name="Model">The model itself.</param>
/// <param name="Tokenizer">Its tokenizer.</param>
public sealed record LoadedClassifier(string Folder, string ConfigJson, BertClassifier Model, TextTokenizer Tokenizer) : IDisposable
{
    /// <summary>The quantized model that an artifact folder holds; null for a float checkpoint.</summary>
    public QuantizedModel? Quantized { get; init; }

    /// <summary>The element type of each tensor in the checkpoint; empty for a classifier that was not read from one.</summary>
    public IReadOnlyDictionary<string, ElementType> StoredAs { get; init; } = new Dictionary<string, ElementType>();

    /// <summary>What the classifier is called: the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>Whether a <c>config.json</c> describes an encoder of this family.</summary>
    /// <param name="configJson">Its text.</param>
    public static bool IsEncoder(string configJson)
    {
        try
        {
            using var config = JsonDocument.Parse(configJson);
            return config.RootElement.ValueKind == JsonValueKind.Object && config.RootElement.TryGetProperty("model_type", out var type) && type.ValueKind == JsonValueKind.String
                && BertConfig.SupportedTypes.Contains(type.GetString()!);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>Whether a folder's <c>config.json</c> describes an encoder of this family; what is no folder of a model is refused where it is opened.</summary>
    /// <param name="folder">Any path.</param>
    public static bool IsEncoderFolder(string folder)
    {
        var config = Path.Combine(folder, Checkpoint.ConfigName);
        InputFile.RequireRegular(config);
        return File.Exists(config) && IsEncoder(InputFile.ReadText(config));
    }

    /// <summary>Opens a BERT, RoBERTa or DistilBERT classifier in evaluation mode: a float checkpoint, or an artifact whose quantization is simulated.</summary>
    /// <param name="folder">A Hugging Face folder: <c>config.json</c>, safetensors, and the tokenizer's files.</param>
    /// <exception cref="NibbleException">The folder holds no supported classifier.</exception>
    public static LoadedClassifier Open(string folder) => QuantizedModelFile.IsArtifact(folder) ? OpenArtifact(folder) : OpenCheckpoint(folder);

    private static LoadedClassifier OpenCheckpoint(string folder)
    {
        TorchRuntime.EnsureLoaded();
        QuantizedCheckpoint.RequireFloat(folder);
        using var checkpoint = Checkpoint.Open(folder);
        var config = BertConfig.Parse(checkpoint.ConfigJson, Path.Combine(folder, Checkpoint.ConfigName));
        checkpoint.RequireHead();

        // Every parameter takes at least two bytes on disk; half of them gives a checkpoint that lacks a tensor its own message.
        if (config.LeastParameters > checkpoint.TensorBytes)
        {
            throw new NibbleException($"{folder}: config.json describes a model of at least {config.LeastParameters:N0} parameters, but the weights have {checkpoint.TensorBytes:N0} bytes; they belong to different models");
        }

        var tokenizer = LoadTokenizer(folder, config);
        var model = new BertClassifier(config);
        try
        {
            var expected = model.named_parameters().ToDictionary(item => item.name, item => item.parameter.shape, StringComparer.Ordinal);
            CheckpointTensors.Require(checkpoint, expected, config.ModelType, IsBuffer);
            foreach (var (name, parameter) in model.named_parameters())
            {
                CheckpointTensors.Read(checkpoint, name, parameter);
            }

            model.eval();
            return new LoadedClassifier(folder, checkpoint.ConfigJson, model, tokenizer)
            {
                StoredAs = expected.Keys.ToDictionary(name => name, name => checkpoint.Entry(name).ElementType),
            };
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static LoadedClassifier OpenArtifact(string folder)
    {
        TorchRuntime.EnsureLoaded();
        var quantized = QuantizedModelFile.Load(folder);
        var config = BertConfig.Parse(quantized.ConfigJson, Path.Combine(folder, Checkpoint.ConfigName));
        var tokenizer = LoadTokenizer(folder, config);
        var model = new BertClassifier(config);
        try
        {
            ModuleConversion.Load(model, quantized, new Dictionary<string, string>());
            model.eval();
            return new LoadedClassifier(folder, quantized.ConfigJson, model, tokenizer) { Quantized = quantized };
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Gives what this classifier was converted to its configuration and tokenizer, so that its artifact can be opened as a classifier and exported.</summary>
    /// <remarks>Tensors that stay float go back into the type that the checkpoint stores them in where it holds their values exactly, as it does unless they
    /// were trained.</remarks>
    /// <param name="converted">What <see cref="PreparedModel.Convert"/> yielded of <see cref="Model"/>.</param>
    public QuantizedModel Complete(QuantizedModel converted)
    {
        ArgumentNullException.ThrowIfNull(converted);
        return converted with { ConfigJson = ConfigJson, TokenizerFolder = Folder, FloatTensors = [.. converted.FloatTensors.Select(AsStored)] };
    }

    private FloatTensor AsStored(FloatTensor tensor) =>
        StoredAs.TryGetValue(tensor.Name, out var type) && Array.TrueForAll(tensor.Values, value => type.Round(value).Equals(value))
            ? tensor with { StoredAs = type } : tensor;

    /// <summary>Makes a classifier of random weights, in evaluation mode.</summary>
    /// <param name="configJson">The text of its <c>config.json</c>.</param>
    /// <param name="tokenizerFolder">A folder with the tokenizer's files, such as <c>vocab.txt</c>.</param>
    /// <param name="seed">Drives the weights.</param>
    /// <exception cref="NibbleException">The configuration or the tokenizer is not supported, or one does not fit the other.</exception>
    public static LoadedClassifier Create(string configJson, string tokenizerFolder, long seed)
    {
        TorchRuntime.EnsureLoaded();
        var config = BertConfig.Parse(configJson, Checkpoint.ConfigName);
        var tokenizer = LoadTokenizer(tokenizerFolder, config);
        using var generator = new Generator(unchecked((ulong)seed));
        var model = new BertClassifier(config);
        model.Initialize(generator);
        model.eval();
        return new LoadedClassifier(tokenizerFolder, configJson, model, tokenizer);
    }

    /// <summary>Writes the classifier in float32 as a Hugging Face folder, each file under a temporary name until it is whole.</summary>
    /// <param name="folder">The folder; made where it is absent. Files of the same names are replaced.</param>
    public void Save(string folder)
    {
        Directory.CreateDirectory(folder);
        AtomicFile.Write(Path.Combine(folder, Checkpoint.ConfigName), stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(ConfigJson)));
        foreach (var path in Tokenizer.Files)
        {
            var bytes = File.ReadAllBytes(path);
            AtomicFile.Write(Path.Combine(folder, Path.GetFileName(path)), stream => stream.Write(bytes));
        }

        // The weights come last: a folder without them is plainly no checkpoint.
        SafetensorsWriter.Write(
            Path.Combine(folder, Checkpoint.WeightsName),
            [.. Model.named_parameters().Select(item => SafetensorsTensor.FromFloats(item.name, ElementType.F32, item.parameter.shape, Conversion.ValuesOf(item.parameter)))],
            new Dictionary<string, string> { ["format"] = "pt" });
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();

    // Tables of consecutive numbers that older versions of transformers wrote.
    private static bool IsBuffer(string name) =>
        name.EndsWith(".embeddings.position_ids", StringComparison.Ordinal) || name.EndsWith(".embeddings.token_type_ids", StringComparison.Ordinal);

    private static TextTokenizer LoadTokenizer(string folder, BertConfig config)
    {
        var tokenizer = TextTokenizer.Load(folder);
        if (tokenizer.VocabularySize > config.VocabularySize)
        {
            throw new NibbleException($"{folder}: the tokenizer has {tokenizer.VocabularySize} tokens, expected at most the {config.VocabularySize} of config.json's vocab_size; the tokenizer belongs to another model");
        }

        return tokenizer.BosId is not null && tokenizer.EosId is not null
            ? tokenizer
            : throw new NibbleException($"{folder}: the tokenizer names no tokens for the beginning and the end of a sequence ([CLS] and [SEP], or "
                + "bos_token and eos_token in tokenizer_config.json), which a classifier needs");
    }
}
