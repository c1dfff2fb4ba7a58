using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Models.Llama;
using Nibble.Numerics;
using Nibble.Torch.Models;

namespace Nibble.Torch.Export;

/// <summary>The tensors of a model that is to be written in another format: those of a float checkpoint or of an artifact.</summary>
internal abstract class ExportSource : IDisposable
{
    protected ExportSource(string folder, string configJson)
    {
        Folder = folder;
        Name = ImportedConfig.NameIn(configJson) ?? Checkpoint.NameOf(folder);
        Config = LlamaConfig.Parse(configJson, Path.Combine(folder, Checkpoint.ConfigName));
    }

    /// <summary>The model's folder, which holds its tokenizer too.</summary>
    public string Folder { get; }

    /// <summary>What the model is called: as the file was that it was imported from, otherwise like its folder.</summary>
    public string Name { get; }

    /// <summary>The model's shape.</summary>
    public LlamaConfig Config { get; }

    /// <summary>The artifact; null for a float checkpoint.</summary>
    public virtual QuantizedModel? Artifact => null;

    /// <summary>Opens a model and checks that it has the tensors that its configuration says.</summary>
    /// <exception cref="NibbleException">The folder holds no model, or one whose tensors are not those of its configuration.</exception>
    public static ExportSource Open(string folder)
    {
        QuantizedCheckpoint.RequireFloat(folder);
        ExportSource source = QuantizedModelFile.IsArtifact(folder) ? new ArtifactSource(folder) : new CheckpointSource(folder);
        try
        {
            source.Require(GgufNames.Of(source.Config).ToDictionary(tensor => tensor.Source, tensor => tensor.Shape, StringComparer.Ordinal));
            return source;
        }
        catch
        {
            source.Dispose();
            throw;
        }
    }

    /// <summary>The codes of a tensor; null where it is float.</summary>
    public abstract QuantizedTensor? Codes(string name);

    /// <summary>The element type that a float tensor is stored in.</summary>
    public abstract ElementType StoredAs(string name);

    /// <summary>Reads consecutive values of a tensor, those of codes where it has codes.</summary>
    public abstract void Read(string name, long start, Span<float> values);

    public abstract void Dispose();

    /// <summary>Refuses a model whose tensors are not exactly those expected.</summary>
    protected abstract void Require(IReadOnlyDictionary<string, long[]> expected);

    private sealed class CheckpointSource : ExportSource
    {
        private readonly Checkpoint checkpoint;

        public CheckpointSource(string folder)
            : this(Checkpoint.Open(folder))
        {
        }

        private CheckpointSource(Checkpoint checkpoint)
            : base(checkpoint.Folder, checkpoint.ConfigJson)
        {
            this.checkpoint = checkpoint;
            checkpoint.RequireHead();
        }

        public override QuantizedTensor? Codes(string name) => null;

        public override ElementType StoredAs(string name) => checkpoint.Entry(name).ElementType;

        public override void Read(string name, long start, Span<float> values) => checkpoint.ReadFloats(name, start, values);

        public override void Dispose() => checkpoint.Dispose();

        protected override void Require(IReadOnlyDictionary<string, long[]> expected) =>
            CheckpointTensors.Require(checkpoint, expected, Config.ModelType, Config.IsIgnored);
    }

    private sealed class ArtifactSource : ExportSource
    {
        private readonly QuantizedModel model;
        private readonly Dictionary<string, QuantizedTensor> codes;
        private readonly Dictionary<string, FloatTensor> floats;

        public ArtifactSource(string folder)
            : this(folder, QuantizedModelFile.Load(folder))
        {
        }

        private ArtifactSource(string folder, QuantizedModel model)
            : base(folder, model.ConfigJson)
        {
            this.model = model;
            codes = model.Layers.ToDictionary(layer => layer.Name + ".weight", layer => layer.Weight, StringComparer.Ordinal);
            floats = model.FloatTensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
        }

        public override QuantizedModel? Artifact => model;

        public override QuantizedTensor? Codes(string name) => codes.GetValueOrDefault(name);

        public override ElementType StoredAs(string name) => floats[name].StoredAs;

        public override void Read(string name, long start, Span<float> values)
        {
            if (floats.TryGetValue(name, out var tensor))
            {
                tensor.Values.AsSpan((int)start, values.Length).CopyTo(values);
                return;
            }

            var layer = codes[name];
            for (var i = 0; i < values.Length; i++)
            {
                values[i] = layer.ValueAt((int)start + i);
            }
        }

        public override void Dispose()
        {
        }

        protected override void Require(IReadOnlyDictionary<string, long[]> expected)
        {
            foreach (var (name, shape) in expected)
            {
                var found = codes.TryGetValue(name, out var layer) ? [layer.Rows, layer.Columns]
                    : floats.TryGetValue(name, out var tensor) ? tensor.Shape.Select(size => (long)size).ToArray()
                    : throw new NibbleException($"{Folder}: the artifact lacks the tensor '{name}', which a model of type '{Config.ModelType}' has");
                if (!found.SequenceEqual(shape))
                {
                    throw new NibbleException(
                        $"{Folder}: tensor '{name}' has shape [{string.Join(", ", found)}], expected [{string.Join(", ", shape)}] from config.json");
                }
            }

            if (codes.Keys.Concat(floats.Keys).FirstOrDefault(name => !expected.ContainsKey(name)) is { } unknown)
            {
                throw new NibbleException(
                    $"{Folder}: the artifact holds the tensor '{unknown}', which a model of type '{Config.ModelType}' with this config.json does not use");
            }
        }
    }
}
