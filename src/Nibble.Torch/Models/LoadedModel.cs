using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Models;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;

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
    IQuantizableModel Model,
    TextTokenizer Tokenizer,
    IReadOnlyDictionary<string, ElementType> StoredAs,
    long Bytes,
    IReadOnlyDictionary<string, string> Hashes) : IDisposable
{
    /// <summary>The quantized model that an artifact folder holds; null for a float checkpoint.</summary>
    public QuantizedModel? Quantized { get; init; }

    /// <summary>What the model is for; null where its configuration says it.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>What the model is.</summary>
    public ModelDefinition Definition => Model.Definition;

    /// <summary>The model as one that predicts the next token.</summary>
    /// <exception cref="NibbleException">It does not.</exception>
    public IDecoder Decoder => Model as IDecoder
        ?? throw new NibbleException(
            $"{Folder}: a model of type {Definition.ModelType} for {TaskConfig.NameOf(Definition.Task!.Value)}, expected a decoder, which "
            + "predicts the next token");

    /// <summary>What the model is called: the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>Opens a float checkpoint, an artifact of Nibble, or a checkpoint that GPTQ's, AWQ's or compressed-tensors' tools quantized.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="task">What the model is for; null is what the folder says.</param>
    /// <exception cref="MissingHeadException">The model has no head, and nothing says what it is for.</exception>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded.</exception>
    public static LoadedModel Open(string folder, TaskConfig? task = null) =>
        QuantizedModelFile.IsArtifact(folder) ? OpenQuantized(folder, QuantizedModelFile.Load(folder), QuantizedModelFile.TensorBytes(folder))
        : QuantizedCheckpoint.MethodOf(folder) is not null ? OpenForeign(folder)
        : OpenCheckpoint(folder, training: null, task);

    /// <summary>Opens a float checkpoint for training, without holding in float what the recipe's mode of training does not.</summary>
    /// <remarks>
    /// Layers that are quantized are packed one by one where training goes over NormalFloat weights, and not read at all where it begins with
    /// codes that are found from the checkpoint a block at a time; their weights are zeros then. A head that is tied to the embedding gets a
    /// matrix of its own where a rule of the recipe quantizes it alone.
    /// </remarks>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="recipe">What the model will be trained with.</param>
    /// <param name="task">What the model is for; null is what the folder says.</param>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded, or a quantized one.</exception>
    public static LoadedModel OpenToTrain(string folder, Recipe recipe, TaskConfig? task = null)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        RequireFloat(folder);
        return OpenCheckpoint(folder, recipe, task);
    }

    /// <summary>Bytes that the tensors of an artifact take, without names and shapes in the file's header.</summary>
    /// <param name="recipe">What the artifact is made by.</param>
    public long CountArtifactBytes(Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var rules = Definition.Complete(recipe);
        var layers = Model.Layers.ToDictionary(layer => layer.Key + ".weight", layer => (layer.Value, Rule: rules.RuleFor(layer.Key)));
        return Model.Parameters().Sum(item => layers.TryGetValue(item.Name, out var layer) && layer.Rule is { Weights: { } scheme }
            ? QuantizedTensor.CountStoredBytes((int)layer.Value.Weight.shape[0], (int)layer.Value.Weight.shape[1], scheme)
            : StoredAs.TryGetValue(item.Name, out var type) ? item.Value.numel() * type.ByteSize() : 0);
    }

    /// <summary>Opens a float checkpoint as a model with another head, whose values are drawn where the checkpoint has none that fit.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="change">Makes of the text of its configuration that of the model wanted.</param>
    /// <param name="seed">Drives the values that are drawn.</param>
    /// <returns>The model, and the names of the tensors that were drawn.</returns>
    public static (LoadedModel Model, IReadOnlyList<string> Drawn) OpenWithHead(string folder, Func<string, string> change, long seed)
    {
        ArgumentNullException.ThrowIfNull(change);
        RequireFloat(folder);
        using var checkpoint = FloatCheckpoint.Open(folder, change, mayLackHead: true);
        var loaded = Load(checkpoint, checkpoint.ConfigJson, checkpoint.Definition, training: null);
        List<string> drawn = [.. checkpoint.Definition.HeadTensors.Select(tensor => tensor.Name).Where(name => !checkpoint.HeldTensors.Contains(name))];
        using var generator = new TorchSharp.torch.Generator(unchecked((ulong)seed));
        loaded.Model.Initialize(generator, drawn.Contains);
        return (loaded, drawn);
    }

    /// <summary>Makes a model of random weights.</summary>
    /// <param name="configJson">The text of its <c>config.json</c>.</param>
    /// <param name="tokenizerFolder">A folder with the tokenizer's files, such as <c>vocab.txt</c>.</param>
    /// <param name="seed">Drives the weights.</param>
    /// <exception cref="NibbleException">The configuration or the tokenizer is not supported, or one does not fit the other.</exception>
    public static LoadedModel Create(string configJson, string tokenizerFolder, long seed)
    {
        TorchRuntime.EnsureLoaded();
        var definition = ModelFamilies.Parse(configJson, Checkpoint.ConfigName);
        var tokenizer = FloatCheckpoint.LoadTokenizer(tokenizerFolder, definition);
        using var generator = new TorchSharp.torch.Generator(unchecked((ulong)seed));
        var model = ModuleFamilies.Of(definition).CreateModel(definition);
        model.Initialize(generator);
        model.Module.eval();
        var storedAs = model.Parameters().ToDictionary(item => item.Name, _ => ElementType.F32);
        return new LoadedModel(
            tokenizerFolder, configJson, model, tokenizer, storedAs, model.ParameterCount() * sizeof(float), new Dictionary<string, string>());
    }

    /// <summary>Writes the model as a float checkpoint in the types that it is stored in; the folder appears only once it is whole.</summary>
    /// <param name="folder">The folder to create.</param>
    /// <exception cref="NibbleException">The folder exists already, or a value is not finite.</exception>
    public void Save(string folder) => Checkpoint.Save(
        folder,
        ConfigJson,
        [
            .. Model.Parameters().Select(item =>
            {
                var stored = Conversion.Stored(item.Name, item.Value, StoredAs[item.Name]);
                return SafetensorsTensor.FromFloats(item.Name, stored.StoredAs, item.Value.shape, stored.Values);
            }),
        ],
        Folder);

    /// <summary>Refuses a model that is quantized already.</summary>
    /// <exception cref="NibbleException">The model is an artifact.</exception>
    public void RequireFloat()
    {
        if (Quantized is not null)
        {
            QuantizedCheckpoint.RequireFloat(Folder);
            throw new NibbleException(
                $"{Folder}: this is an artifact that {Quantized.Provenance.Method} wrote with the recipe '{Quantized.Recipe.Name}', expected a float "
                + $"checkpoint; quantize the model that it was made from");
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

    private static LoadedModel OpenCheckpoint(string folder, Recipe? training, TaskConfig? task)
    {
        using var checkpoint = FloatCheckpoint.Open(folder, task);
        var definition = checkpoint.Definition;
        var json = checkpoint.ConfigJson;
        if (training is not null && TiedHead.IsNamed(training, definition))
        {
            json = definition.Untie(json);
            definition = ModelFamilies.Parse(json, Path.Combine(folder, Checkpoint.ConfigName));
        }

        return Load(checkpoint, json, definition, training) with { Task = task };
    }

    private static LoadedModel Load(FloatCheckpoint checkpoint, string json, ModelDefinition definition, Recipe? training)
    {
        var model = ModuleFamilies.Of(definition).CreateModel(definition);
        try
        {
            var storedAs = new Dictionary<string, ElementType>();
            var rules = training is null ? null : definition.Complete(training);
            var quantized = model.Linears().Where(linear => rules?.RuleFor(linear.Key) is not null)
                .ToDictionary(linear => linear.Key + ".weight", linear => linear.Value);
            foreach (var (name, parameter) in model.Parameters())
            {
                // A head that was tied begins as the embedding; one that the checkpoint lacks is stored as the rest is.
                var source = checkpoint.SourceOf(name);
                if (!checkpoint.HeldTensors.Contains(name) && source == name)
                {
                    storedAs[name] = ElementType.F32;
                    continue;
                }

                storedAs[name] = checkpoint.StoredAs(source);
                var linear = quantized.GetValueOrDefault(name);
                if (linear is not null && training!.Qat.Mode is TrainingMode.BlockWise or TrainingMode.Scales)
                {
                    TransientWeight.Release(linear);
                    continue;
                }

                checkpoint.Load(source, parameter);
                if (linear is not null && training!.Qat.Mode == TrainingMode.AdaptersOnNormalFloat)
                {
                    NormalFloatWeight.Hold(linear);
                }
            }

            model.Module.eval();
            return new LoadedModel(checkpoint.Folder, json, model, checkpoint.Tokenizer, storedAs, checkpoint.Bytes, checkpoint.Hashes());
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
        if (model.Definition.Task is null)
        {
            model.Dispose();
            throw new MissingHeadException(folder, model.Definition.ModelType);
        }

        var storedAs = quantized.FloatTensors.ToDictionary(tensor => tensor.Name, tensor => tensor.StoredAs);
        return new LoadedModel(folder, quantized.ConfigJson, model, FloatCheckpoint.LoadTokenizer(folder, model.Definition), storedAs, bytes,
            quantized.Provenance.SourceHashes)
        {
            Quantized = quantized,
        };
    }

    /// <summary>Makes the float model that computes what a quantized model computes.</summary>
    /// <param name="quantized">The quantized model.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The tensors are not those of the configuration.</exception>
    public static IQuantizableModel Simulate(QuantizedModel quantized, string source)
    {
        ArgumentNullException.ThrowIfNull(quantized);
        var definition = ModelFamilies.Parse(quantized.ConfigJson, $"{source}: config.json");
        var model = ModuleFamilies.Of(definition).CreateModel(definition);
        try
        {
            var floats = quantized.FloatTensors.ToDictionary(tensor => tensor.Name);
            var layers = quantized.Layers.ToDictionary(layer => layer.Name);
            foreach (var (name, module) in model.Layers)
            {
                if (layers.TryGetValue(name, out var layer))
                {
                    var shape = module.Weight.shape;
                    if (layer.Weight.Rows != shape[0] || layer.Weight.Columns != shape[1])
                    {
                        throw new NibbleException(
                            $"{source}: layer '{name}' is [{layer.Weight.Rows}, {layer.Weight.Columns}], expected [{shape[0]}, {shape[1]}] from "
                            + "config.json");
                    }

                    Conversion.CopyInto(module.Weight, layer.Weight.Dequantize());
                    if (module is QuantizableLinear linear)
                    {
                        linear.InputTransform = layer.InputTransform == InputTransform.Hadamard ? new HadamardTransform(linear.InFeatures) : null;
                        linear.InputQuantizer = InputQuantizers.Create(layer.Input);
                    }
                }
            }

            SimulateCache(model, quantized, source);

            foreach (var (name, parameter) in model.Parameters())
            {
                if (floats.TryGetValue(name, out var value) && value.Shape.Select(size => (long)size).SequenceEqual(parameter.shape))
                {
                    Conversion.CopyInto(parameter, value.Values);
                }
                else if (!name.EndsWith(".weight", StringComparison.Ordinal) || !layers.ContainsKey(name[..^".weight".Length]))
                {
                    throw new NibbleException(
                        $"{source}: tensor '{name}' is missing or not of the shape [{string.Join(", ", parameter.shape)}] that config.json gives");
                }
            }

            var unknown = layers.Keys.Except(model.Layers.Select(layer => layer.Key))
                .Concat(floats.Keys.Except(model.Parameters().Select(item => item.Name)))
                .FirstOrDefault();
            model.Module.eval();
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

    private static void SimulateCache(IQuantizableModel model, QuantizedModel quantized, string source)
    {
        var keys = quantized.StaticKeys.ToDictionary(block => block.Name);
        KeyValueQuantizers.Require(quantized.Recipe, model.Blocks[0], source);
        for (var i = 0; i < model.Blocks.Count; i++)
        {
            if (model.Blocks[i] is not IKeyValueBlock caching)
            {
                continue;
            }

            var name = model.Definition.BlockPrefix(i) + caching.Attention;
            var (heads, size) = caching.KeyValueHeads;
            var found = keys.Remove(name, out var block);
            if (quantized.Recipe.KeyValueCache is { HasStaticKeys: true } && !found)
            {
                throw new NibbleException($"{source}: the recipe quantizes keys per channel, but there are no parameters of the keys of '{name}'");
            }

            if (block is not null && (block.Heads != heads || block.HeadSize != size))
            {
                throw new NibbleException(
                    $"{source}: the parameters of the keys of '{name}' are [{block.Heads}, {block.HeadSize}], expected [{heads}, {size}] from config.json");
            }

            KeyValueQuantizers.Set(caching, quantized.Recipe.KeyValueCache, block);
            KeyValueQuantizers.Rotate(caching, quantized.Recipe);
        }

        if (keys.Keys.FirstOrDefault() is { } unknown)
        {
            throw new NibbleException($"{source}: the artifact holds parameters of the keys of '{unknown}', which a model with this config.json does not use");
        }
    }
}
