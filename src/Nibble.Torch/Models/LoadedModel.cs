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

/// <summary>A model in memory, with its tokenizer, its configuration and its origin.</summary>
/// <param name="Folder">The folder it was loaded from.</param>
/// <param name="ConfigJson">The text of its <c>config.json</c>.</param>
/// <param name="Model">The model itself.</param>
/// <param name="Tokenizer">Its tokenizer.</param>
/// <param name="StoredAs">The element type of each parameter in the checkpoint.</param>
/// <param name="Bytes">Size of its tensors on disk, in bytes.</param>
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
    /// <summary>The quantized model if the folder is an artifact. Null for a float checkpoint.</summary>
    public QuantizedModel? Quantized { get; init; }

    /// <summary>The task of the model. Null if its configuration defines the task.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>The model's definition.</summary>
    public ModelDefinition Definition => Model.Definition;

    /// <summary>The model as a decoder, which predicts the next token.</summary>
    /// <exception cref="NibbleException">The model is not a decoder.</exception>
    public IDecoder Decoder => Model as IDecoder
        ?? throw new NibbleException(
            $"{Folder}: this is a model of type {Definition.ModelType} for {TaskConfig.NameOf(Definition.Task!.Value)}, expected a decoder, which "
            + "predicts the next token");

    /// <summary>The model's name, which is the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>Opens a float checkpoint, a Nibble artifact, or a checkpoint quantized by GPTQ, AWQ or compressed-tensors tools.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="task">The task of the model. Null reads it from the folder.</param>
    /// <exception cref="MissingHeadException">The model has no head, and the task is not known.</exception>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded.</exception>
    public static LoadedModel Open(string folder, TaskConfig? task = null) =>
        QuantizedModelFile.IsArtifact(folder) ? OpenQuantized(folder, QuantizedModelFile.Load(folder), QuantizedModelFile.TensorBytes(folder))
        : QuantizedCheckpoint.MethodOf(folder) is not null ? OpenForeign(folder)
        : OpenCheckpoint(folder, training: null, task);

    /// <summary>Opens a float checkpoint for training. Weights that the recipe's training mode does not need in float are not kept in float.</summary>
    /// <remarks>
    /// If training works on top of NormalFloat weights, quantized layers are packed one by one. If training starts from codes that are computed from the
    /// checkpoint one block at a time, quantized layers are not read at all, and their weights are zeros. A head that is tied to the embedding gets its own
    /// matrix if a rule of the recipe quantizes only the head.
    /// </remarks>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="recipe">The recipe to train the model with.</param>
    /// <param name="task">The task of the model. Null reads it from the folder.</param>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded, or a quantized one.</exception>
    public static LoadedModel OpenToTrain(string folder, Recipe recipe, TaskConfig? task = null)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        RequireFloat(folder);
        return OpenCheckpoint(folder, recipe, task);
    }

    /// <summary>The size of an artifact's tensors in bytes, without names and shapes in the file's header.</summary>
    /// <param name="recipe">The recipe of the artifact.</param>
    public long CountArtifactBytes(Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var rules = Definition.Complete(recipe);
        var layers = Model.Layers.ToDictionary(layer => layer.Key + ".weight", layer => (layer.Value, Rule: rules.RuleFor(layer.Key)));
        return Model.Parameters().Sum(item => layers.TryGetValue(item.Name, out var layer) && layer.Rule is { Weights: { } scheme }
            ? QuantizedTensor.CountStoredBytes((int)layer.Value.Weight.shape[0], (int)layer.Value.Weight.shape[1], scheme)
            : StoredAs.TryGetValue(item.Name, out var type) ? item.Value.numel() * type.ByteSize() : 0);
    }

    /// <summary>Opens a float checkpoint as a model with another head. Head values that the checkpoint lacks or that do not fit are drawn at random.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="change">Turns the text of the checkpoint's configuration into that of the wanted model.</param>
    /// <param name="seed">The seed of the drawn values.</param>
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

    /// <summary>Creates a model with random weights.</summary>
    /// <param name="configJson">The text of its <c>config.json</c>.</param>
    /// <param name="tokenizerFolder">A folder with the tokenizer's files, for example <c>vocab.txt</c>.</param>
    /// <param name="seed">The seed of the weights.</param>
    /// <exception cref="NibbleException">The configuration or the tokenizer is not supported, or they do not match.</exception>
    public static LoadedModel Create(string configJson, string tokenizerFolder, long seed)
    {
        TorchRuntime.EnsureLoaded();
        var definition = ModelFamilies.Parse(configJson, Checkpoint.ConfigName);
        var tokenizer = TextTokenizer.Load(tokenizerFolder, definition);
        using var generator = new TorchSharp.torch.Generator(unchecked((ulong)seed));
        var model = ModuleFamilies.Of(definition).CreateModel(definition);
        model.Initialize(generator);
        model.Module.eval();
        var storedAs = model.Parameters().ToDictionary(item => item.Name, _ => ElementType.F32);
        return new LoadedModel(
            tokenizerFolder, configJson, model, tokenizer, storedAs, model.ParameterCount() * sizeof(float), new Dictionary<string, string>());
    }

    /// <summary>Writes the model as a float checkpoint with its stored element types. The folder appears only when it is complete.</summary>
    /// <param name="folder">The folder to create.</param>
    /// <exception cref="NibbleException">The folder already exists, or a value is not finite.</exception>
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

    /// <summary>Rejects a model that is already quantized.</summary>
    /// <exception cref="NibbleException">The model is an artifact.</exception>
    public void RequireFloat()
    {
        if (Quantized is not null)
        {
            QuantizedCheckpoint.RequireFloat(Folder);
            throw new NibbleException(
                $"{Folder}: this is an artifact, written by {Quantized.Provenance.Method} with the recipe '{Quantized.Recipe.Name}', expected a float "
                + $"checkpoint. Quantize the model that the artifact was made from");
        }
    }

    /// <summary>Rejects a folder that holds a quantized model, without loading it.</summary>
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
                // A head that was tied starts as the embedding. A head that the checkpoint lacks is stored like the other parameters.
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
        return new LoadedModel(folder, quantized.ConfigJson, model, TextTokenizer.Load(folder, model.Definition), storedAs, bytes,
            quantized.Provenance.SourceHashes)
        {
            Quantized = quantized,
        };
    }

    /// <summary>Creates the float model that computes the same as a quantized model.</summary>
    /// <param name="quantized">The quantized model.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The tensors do not match the configuration.</exception>
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
                        $"{source}: tensor '{name}' is missing or does not have the shape [{string.Join(", ", parameter.shape)}] from config.json");
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
                throw new NibbleException($"{source}: the recipe quantizes keys per channel, but the key parameters of '{name}' are missing");
            }

            if (block is not null && (block.Heads != heads || block.HeadSize != size))
            {
                throw new NibbleException(
                    $"{source}: the key parameters of '{name}' are [{block.Heads}, {block.HeadSize}], expected [{heads}, {size}] from config.json");
            }

            KeyValueQuantizers.Set(caching, quantized.Recipe.KeyValueCache, block);
            KeyValueQuantizers.Rotate(caching, quantized.Recipe);
        }

        if (keys.Keys.FirstOrDefault() is { } unknown)
        {
            throw new NibbleException($"{source}: the artifact holds key parameters of '{unknown}', which a model with this config.json does not use");
        }
    }
}
