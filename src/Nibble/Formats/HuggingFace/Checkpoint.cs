using System.Security.Cryptography;
using System.Text.Json;
using Nibble.Files;
using Nibble.Formats.Safetensors;

namespace Nibble.Formats.HuggingFace;

/// <summary>A Hugging Face checkpoint: a folder with <c>config.json</c> and safetensors weights, in one file or in shards.</summary>
public sealed class Checkpoint : IDisposable
{
    /// <summary>The file name of the model's configuration.</summary>
    public const string ConfigName = "config.json";

    /// <summary>The configuration key that describes how the weights are quantized.</summary>
    public const string QuantizationKey = "quantization_config";

    /// <summary>The file name of the weights if they are in one file.</summary>
    public const string WeightsName = "model.safetensors";

    /// <summary>The file name of the index if the weights are in shards.</summary>
    public const string IndexName = "model.safetensors.index.json";

    private readonly Dictionary<string, SafetensorsFile> files;
    private readonly SortedDictionary<string, SafetensorsFile> byTensor;
    private readonly IReadOnlyDictionary<string, string> storedNames;

    private Checkpoint(
        string folder, string configJson, bool isPart, Dictionary<string, SafetensorsFile> files, SortedDictionary<string, SafetensorsFile> byTensor)
    {
        Folder = folder;
        ConfigJson = configJson;
        this.files = files;
        using var config = JsonDocument.Parse(configJson);
        storedNames = isPart ? TextPart.Names(byTensor.Keys) : BaseModel.FullNames(config.RootElement, byTensor.Keys);
        this.byTensor = byTensor;
        var renamed = storedNames.Select(pair => (Name: pair.Key, File: byTensor[pair.Value])).ToList();
        foreach (var stored in isPart ? [.. byTensor.Keys] : storedNames.Values)
        {
            byTensor.Remove(stored);
        }

        renamed.ForEach(tensor => byTensor.Add(tensor.Name, tensor.File));

        TensorNames = [.. byTensor.Keys];
    }

    /// <summary>The checkpoint's folder.</summary>
    public string Folder { get; }

    /// <summary>The text of <c>config.json</c>, a JSON object; of a model with a vision tower or other parts, that of its language model.</summary>
    public string ConfigJson { get; }

    /// <summary>The names of all tensors, in ordinal order. If a base model was saved without its head, the names include the prefix that they have with
    /// it.</summary>
    public IReadOnlyList<string> TensorNames { get; }

    /// <summary>The names of all tensors, in file order.</summary>
    public IEnumerable<string> TensorsInOrder => files.OrderBy(file => file.Key, StringComparer.Ordinal)
        .SelectMany(file => file.Value.Tensors.OrderBy(tensor => tensor.Offset)).Select(tensor => FullName(tensor.Name)).Where(Contains);

    /// <summary>The size of the weight files on disk, in bytes.</summary>
    public long TensorBytes => files.Values.Sum(file => InputFile.Length(file.Path));

    /// <summary>Opens a checkpoint and validates the headers of its weight files.</summary>
    /// <exception cref="NibbleException">The folder or a required file is missing or broken.</exception>
    public static Checkpoint Open(string folder) => Open(folder, anyName: false);

    /// <summary>Opens a checkpoint.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="anyName">Whether a single weight file or index may have any name. AutoGPTQ writes <c>gptq_model-4bit-128g.safetensors</c>.</param>
    internal static Checkpoint Open(string folder, bool anyName)
    {
        ArgumentNullException.ThrowIfNull(folder);
        if (!Directory.Exists(folder))
        {
            throw new NibbleException(File.Exists(folder)
                ? Path.GetExtension(folder).Equals(".onnx", StringComparison.OrdinalIgnoreCase)
                    ? $"{folder} is an ONNX file, which is not supported here; give the folder of the checkpoint that it was made from, with "
                        + $"{ConfigName} and {WeightsName}."
                    : $"{folder} is a file; give the checkpoint's folder, with {ConfigName} and {WeightsName}."
                : $"There is no folder {folder}.");
        }

        var weights = Path.Combine(folder, WeightsName);
        var index = Path.Combine(folder, IndexName);
        if (!File.Exists(weights) && !File.Exists(index))
        {
            (weights, index) = anyName ? OnlyFile(folder) : throw MissingWeights(folder);
        }

        var (configJson, isPart) = ReadTextConfig(Path.Combine(folder, ConfigName));
        var files = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        try
        {
            var byTensor = new SortedDictionary<string, SafetensorsFile>(StringComparer.Ordinal);
            if (File.Exists(weights))
            {
                var file = SafetensorsFile.Open(weights);
                files.Add(Path.GetFileName(weights), file);
                foreach (var tensor in file.Tensors)
                {
                    byTensor.Add(tensor.Name, file);
                }
            }
            else
            {
                OpenShards(folder, index, files, byTensor);
            }

            return new Checkpoint(folder, configJson, isPart, files, byTensor);
        }
        catch
        {
            DisposeAll(files);
            throw;
        }
    }

    /// <summary>The name of the model in a folder, which is the folder's name.</summary>
    public static string NameOf(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));

    /// <summary>Saves a checkpoint with a single weight file. The folder appears only when it is complete.</summary>
    /// <param name="folder">The folder to create.</param>
    /// <param name="configJson">The text of <c>config.json</c>.</param>
    /// <param name="tensors">The weights.</param>
    /// <param name="tokenizerFolder">The folder with the tokenizer files to copy; empty for a model that does not read text.</param>
    /// <exception cref="NibbleException">The folder already exists, or the tokenizer's folder does not.</exception>
    public static void Save(string folder, string configJson, IReadOnlyList<SafetensorsTensor> tensors, string tokenizerFolder)
    {
        ArgumentNullException.ThrowIfNull(configJson);
        CheckpointFolder.Create(folder, tokenizerFolder, temporary =>
        {
            SafetensorsWriter.Write(Path.Combine(temporary, WeightsName), tensors, CheckpointFolder.Metadata);
            SentenceTransformers.Write(temporary, configJson);
            AtomicFile.Write(Path.Combine(temporary, ConfigName), stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(configJson)));
        });
    }

    /// <summary>Reads the text of a checkpoint's <c>config.json</c>, a JSON object; of a model with other parts, that of its language model.</summary>
    /// <exception cref="NibbleException">The file is missing or is not a JSON object.</exception>
    public static string ReadConfig(string path) => ReadTextConfig(path).Json;

    private static (string Json, bool IsPart) ReadTextConfig(string path)
    {
        using var document = JsonFile.ReadObject(path);
        return TextPart.ConfigOf(document.RootElement) is { } text ? (text, true) : (document.RootElement.GetRawText(), false);
    }

    /// <summary>Throws if a checkpoint of a known family lacks the head of the family's supported task.</summary>
    /// <exception cref="NibbleException">The head is missing.</exception>
    public void RequireHead()
    {
        using var config = JsonDocument.Parse(ConfigJson);
        if (BaseModel.FindMissingHead(config.RootElement, TensorNames) is { } cause)
        {
            throw new NibbleException($"{Folder}: {cause}");
        }
    }

    /// <summary>Whether the checkpoint has a tensor.</summary>
    public bool Contains(string name) => byTensor.ContainsKey(name);

    /// <summary>Finds a tensor by name.</summary>
    /// <exception cref="NibbleException">The tensor does not exist.</exception>
    public SafetensorsEntry Entry(string name) => FileOf(name).Entry(StoredName(name));

    /// <summary>Reads a floating-point tensor in row-major order, widened to <see cref="float"/>.</summary>
    /// <exception cref="NibbleException">The tensor does not exist, is not F32, F16 or BF16, or contains NaN or infinity.</exception>
    public float[] ReadFloats(string name)
    {
        var values = FileOf(name).ReadFloats(StoredName(name));
        FiniteValues.Require(values, Folder, name, Entry(name).Shape);
        return values;
    }

    /// <summary>Reads consecutive values of a floating-point tensor, widened to <see cref="float"/>.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="start">The row-major index of the first element to read.</param>
    /// <param name="destination">Receives the values.</param>
    /// <exception cref="NibbleException">The tensor does not exist, is not F32, F16 or BF16, or one of the values is NaN or infinite.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The tensor has fewer values.</exception>
    public void ReadFloats(string name, long start, Span<float> destination)
    {
        FileOf(name).ReadFloats(StoredName(name), start, destination);
        FiniteValues.Require(destination, Folder, name, Entry(name).Shape, start);
    }

    /// <summary>Copies a tensor's bytes to a stream in parts.</summary>
    /// <exception cref="NibbleException">The tensor does not exist, or it is a floating-point tensor with NaN or infinity.</exception>
    public void CopyTo(string name, Stream stream)
    {
        RequireFinite(name);
        FileOf(name).CopyTo(StoredName(name), stream);
    }

    /// <summary>Throws if a floating-point tensor contains NaN or infinity. Integer tensors are not checked.</summary>
    /// <exception cref="NibbleException">The tensor does not exist, or a value is NaN or infinite.</exception>
    public void RequireFinite(string name)
    {
        if (Entry(name) is var entry && entry.ElementType.IsFloatingPoint() && FileOf(name).FindNonFinite(StoredName(name)) is var (index, value))
        {
            throw FiniteValues.Fault(Folder, name, entry.Shape, index, value);
        }
    }

    /// <summary>The SHA-256 hashes of the configuration, weights and tokenizer files, in lower-case hexadecimal, by file name.</summary>
    public IReadOnlyDictionary<string, string> Hashes()
    {
        var hashes = new SortedDictionary<string, string>(StringComparer.Ordinal);
        string[] single = [ConfigName, IndexName];
        foreach (var name in single.Concat(files.Keys).Concat(TokenizerFiles.Names))
        {
            var path = Path.Combine(Folder, name);
            if (File.Exists(path))
            {
                using var stream = File.OpenRead(path);
                hashes[name] = Convert.ToHexStringLower(SHA256.HashData(stream));
            }
        }

        return hashes;
    }

    /// <inheritdoc/>
    public void Dispose() => DisposeAll(files);

    private static void DisposeAll(Dictionary<string, SafetensorsFile> files)
    {
        foreach (var file in files.Values)
        {
            file.Dispose();
        }
    }

    private string StoredName(string name) => storedNames.GetValueOrDefault(name, name);

    private string FullName(string stored) => storedNames.FirstOrDefault(pair => pair.Value == stored).Key ?? stored;

    private SafetensorsFile FileOf(string name) => byTensor.TryGetValue(name, out var file)
        ? file
        : throw new NibbleException($"The checkpoint {Folder} has no tensor {name}.");

    private static void OpenShards(string folder, string index, Dictionary<string, SafetensorsFile> files, SortedDictionary<string, SafetensorsFile> byTensor)
    {
        using var document = JsonFile.ReadObject(index);
        if (!document.RootElement.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object)
        {
            throw new NibbleException($"{index}: expected an object weight_map that maps tensor names to file names.");
        }

        foreach (var mapped in map.EnumerateObject())
        {
            if (mapped.Value.ValueKind != JsonValueKind.String)
            {
                throw new NibbleException($"{index}: weight_map has no file name for {mapped.Name}, found {mapped.Value.ValueKind}.");
            }

            var shard = mapped.Value.GetString()!;
            if (!files.TryGetValue(shard, out var file))
            {
                if (shard.AsSpan().ContainsAny("/\\:\0") || !shard.EndsWith(".safetensors", StringComparison.Ordinal))
                {
                    throw new NibbleException(
                        $"{index}: weight_map maps {mapped.Name} to '{shard}'; expected the name of a .safetensors file in the same folder.");
                }

                file = SafetensorsFile.Open(Path.Combine(folder, shard));
                files.Add(shard, file);
            }

            if (!file.Contains(mapped.Name))
            {
                throw new NibbleException(
                    $"{index}: weight_map says that {shard} holds {mapped.Name}, but it does not; the files belong to different checkpoints.");
            }

            byTensor[mapped.Name] = file;
        }
    }

    private static (string Weights, string Index) OnlyFile(string folder)
    {
        var lists = Directory.GetFiles(folder, "*.safetensors.index.json");
        var files = Directory.GetFiles(folder, "*.safetensors");
        return lists.Length == 1 ? (string.Empty, lists[0]) : lists.Length == 0 && files.Length == 1 ? (files[0], string.Empty) : throw MissingWeights(folder);
    }

    private static NibbleException MissingWeights(string folder)
    {
        var others = Directory.EnumerateFiles(folder)
            .Select(path => Path.GetFileName(path))
            .Where(name => Path.GetExtension(name) is ".bin" or ".gguf" or ".pt" or ".pth" or ".onnx" or ".h5" or ".msgpack" or ".safetensors")
            .Order(StringComparer.Ordinal)
            .ToArray();
        var found = others.Length == 0 ? "no weights at all" : string.Join(", ", others);
        return new NibbleException(
            $"The folder {folder} holds {found}. Expected weights in {WeightsName}, or in shards listed in {IndexName}; "
            + "save the model in safetensors format (in transformers: save_pretrained with safe_serialization).");
    }
}
