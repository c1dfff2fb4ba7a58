using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Export;
using Nibble.Torch.Layers;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Ptq.Rotations;
using Nibble.Torch.Qat.Adapters;

namespace Nibble.Torch.Models;

/// <summary>A model in memory with what belongs to it: tokenizer, configuration, and where it came from.</summary>
/// <param name="Folder">The folder it was read from.</param>
/// <param name="ConfigJson">The text of its <c>config.json</c>.</param>
/// <param name="Model">The model itself.</param>
/// <param name="Tokenizer">Its tokenizer.</param>
/// <param name="StoredAs">The element type of each parameter in the checkpoint.</param>
/// <param name="Bytes">Bytes of its tensors on disk.</param>
/// <param name="Hashes">SHA-256 of its files by name.</param>
public sealed record LoadedModel(
    string Folder,
    string ConfigJson,
    LlamaModel Model,
    TextTokenizer Tokenizer,
    IReadOnlyDictionary<string, ElementType> StoredAs,
    long Bytes,
    IReadOnlyDictionary<string, string> Hashes) : IDisposable
{
    /// <summary>The quantized model that an artifact folder holds; null for a float checkpoint.</summary>
    public QuantizedModel? Quantized { get; init; }

    /// <summary>What the model is called: the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>Opens a float checkpoint, an artifact of Nibble, or a checkpoint that GPTQ's, AWQ's or compressed-tensors' tools quantized.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded.</exception>
    public static LoadedModel Open(string folder) =>
        QuantizedModelFile.IsArtifact(folder) ? OpenQuantized(folder, QuantizedModelFile.Load(folder), QuantizedModelFile.TensorBytes(folder))
        : QuantizedCheckpoint.MethodOf(folder) is not null ? OpenForeign(folder)
        : OpenCheckpoint(folder, training: null);

    /// <summary>Opens a float checkpoint for training, without holding in float what the recipe's mode of training does not.</summary>
    /// <remarks>
    /// Layers that are quantized are packed one by one where training goes over NormalFloat weights, and not read at all where it begins with
    /// codes that are found from the checkpoint a block at a time; their weights are zeros then. A head that is tied to the embedding gets a
    /// matrix of its own where a rule of the recipe quantizes it alone.
    /// </remarks>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="recipe">What the model will be trained with.</param>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded, or a quantized one.</exception>
    public static LoadedModel OpenToTrain(string folder, Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        RequireFloat(folder);
        return OpenCheckpoint(folder, recipe);
    }

    /// <summary>Bytes that the tensors of an artifact take, without names and shapes in the file's header.</summary>
    /// <param name="recipe">What the artifact is made by.</param>
    public long CountArtifactBytes(Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var layers = Model.Linears.ToDictionary(linear => linear.Key + ".weight", linear => (linear.Value, Rule: recipe.RuleFor(linear.Key)));
        return Model.named_parameters().Sum(item => layers.TryGetValue(item.name, out var layer) && layer.Rule is { Weights: { } scheme }
            ? QuantizedTensor.CountStoredBytes(layer.Value.OutFeatures, layer.Value.InFeatures, scheme)
            : StoredAs.TryGetValue(item.name, out var type) ? item.parameter.numel() * type.ByteSize() : 0);
    }

    /// <summary>Refuses a model that is quantized already.</summary>
    /// <exception cref="NibbleException">The model is an artifact.</exception>
    public void RequireFloat()
    {
        if (Quantized is not null)
        {
            QuantizedCheckpoint.RequireFloat(Folder);
            throw new NibbleException($"{Folder}: this is an artifact that {Quantized.Provenance.Method} wrote with the recipe '{Quantized.Recipe.Name}', expected a float checkpoint; quantize the model that it was made from");
        }
    }

    /// <summary>Refuses a folder that holds a quantized model, without loading it.</summary>
    /// <exception cref="NibbleException">The folder is an artifact.</exception>
    public static void RequireFloat(string folder)
    {
        if (QuantizedModelFile.IsArtifact(folder))
        {
            using var artifact = Open(folder);
            artifact.RequireFloat();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();

    private static LoadedModel OpenCheckpoint(string folder, Recipe? training)
    {
        using var checkpoint = LlamaCheckpoint.Open(folder);
        var json = training is not null && TiedHead.IsNamed(training, checkpoint.Config) ? TiedHead.Untie(checkpoint.ConfigJson) : checkpoint.ConfigJson;
        var config = LlamaConfig.Parse(json, Path.Combine(folder, Checkpoint.ConfigName));
        var model = new LlamaModel(config);

        // A head that was tied begins as the embedding.
        string Source(string name) => name == LlamaCheckpoint.HeadName + ".weight" && checkpoint.Config.TiedHead ? LlamaCheckpoint.EmbeddingName : name;
        try
        {
            var storedAs = new Dictionary<string, ElementType>();
            var quantized = model.Linears.Where(linear => training?.RuleFor(linear.Key) is not null).ToDictionary(linear => linear.Key + ".weight", linear => linear.Value);
            foreach (var (name, parameter) in model.named_parameters())
            {
                storedAs[name] = checkpoint.StoredAs(Source(name));
                var linear = quantized.GetValueOrDefault(name);
                if (linear is not null && training!.Qat.Mode is TrainingMode.BlockWise or TrainingMode.Scales)
                {
                    TransientWeight.Release(linear);
                    continue;
                }

                checkpoint.Load(Source(name), parameter);
                if (linear is not null && training!.Qat.Mode == TrainingMode.AdaptersOnNormalFloat)
                {
                    NormalFloatWeight.Hold(linear);
                }
            }

            return new LoadedModel(folder, json, model, checkpoint.Tokenizer, storedAs, checkpoint.Bytes, checkpoint.Hashes());
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static LoadedModel OpenForeign(string folder)
    {
        var quantized = CheckpointImporter.Read(folder).Model;
        return OpenQuantized(folder, quantized, Directory.EnumerateFiles(folder, "*.safetensors").Sum(path => new FileInfo(path).Length));
    }

    private static LoadedModel OpenQuantized(string folder, QuantizedModel quantized, long bytes)
    {
        var model = Simulate(quantized, folder);
        var storedAs = quantized.FloatTensors.ToDictionary(tensor => tensor.Name, tensor => tensor.StoredAs);
        return new LoadedModel(folder, quantized.ConfigJson, model, TextTokenizer.Load(folder), storedAs, bytes, quantized.Provenance.SourceHashes)
        {
            Quantized = quantized,
        };
    }

    /// <summary>Makes the float model that computes what a quantized model computes.</summary>
    /// <param name="quantized">The quantized model.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The tensors are not those of the configuration.</exception>
    public static LlamaModel Simulate(QuantizedModel quantized, string source)
    {
        ArgumentNullException.ThrowIfNull(quantized);
        var model = new LlamaModel(LlamaConfig.Parse(quantized.ConfigJson, $"{source}: config.json"));
        try
        {
            var floats = quantized.FloatTensors.ToDictionary(tensor => tensor.Name);
            var layers = quantized.Layers.ToDictionary(layer => layer.Name);
            foreach (var (name, linear) in model.Linears)
            {
                if (layers.TryGetValue(name, out var layer))
                {
                    if (layer.Weight.Rows != linear.OutFeatures || layer.Weight.Columns != linear.InFeatures)
                    {
                        throw new NibbleException($"{source}: layer '{name}' is [{layer.Weight.Rows}, {layer.Weight.Columns}], expected [{linear.OutFeatures}, {linear.InFeatures}] from config.json");
                    }

                    Conversion.CopyInto(linear.Weight, layer.Weight.Dequantize());
                    linear.InputTransform = layer.InputTransform == InputTransform.Hadamard ? new HadamardTransform(linear.InFeatures) : null;
                    linear.InputQuantizer = InputQuantizers.Create(layer.Input);
                }
            }

            SimulateCache(model, quantized, source);

            foreach (var (name, parameter) in model.named_parameters())
            {
                if (floats.TryGetValue(name, out var value) && value.Shape.Select(size => (long)size).SequenceEqual(parameter.shape))
                {
                    Conversion.CopyInto(parameter, value.Values);
                }
                else if (!name.EndsWith(".weight", StringComparison.Ordinal) || !layers.ContainsKey(name[..^".weight".Length]))
                {
                    throw new NibbleException($"{source}: tensor '{name}' is missing or not of the shape [{string.Join(", ", parameter.shape)}] that config.json gives");
                }
            }

            var unknown = layers.Keys.Except(model.Linears.Select(linear => linear.Key))
                .Concat(floats.Keys.Except(model.named_parameters().Select(item => item.name)))
                .FirstOrDefault();
            return unknown is null
                ? model
                : throw new NibbleException($"{source}: the artifact holds '{unknown}', which a model with this config.json does not use");
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static void SimulateCache(LlamaModel model, QuantizedModel quantized, string source)
    {
        var keys = quantized.StaticKeys.ToDictionary(block => block.Name);
        var (heads, size) = (model.Config.KeyValueHeads, model.Config.HeadSize);
        for (var i = 0; i < model.Blocks.Count; i++)
        {
            var name = $"model.layers.{i}.self_attn";
            var found = keys.Remove(name, out var block);
            if (quantized.Recipe.KeyValueCache is { HasStaticKeys: true } && !found)
            {
                throw new NibbleException($"{source}: the recipe quantizes keys per channel, but there are no parameters of the keys of '{name}'");
            }

            if (block is not null && (block.Heads != heads || block.HeadSize != size))
            {
                throw new NibbleException($"{source}: the parameters of the keys of '{name}' are [{block.Heads}, {block.HeadSize}], expected [{heads}, {size}] from config.json");
            }

            KeyValueQuantizers.Set(model.Blocks[i], quantized.Recipe.KeyValueCache, block);
            model.Blocks[i].Attention.HeadRotation = ModelRotation.ForKeys(model.Config, quantized.Recipe);
        }

        if (keys.Keys.FirstOrDefault() is { } unknown)
        {
            throw new NibbleException($"{source}: the artifact holds parameters of the keys of '{unknown}', which a model with this config.json does not use");
        }
    }
}
