using Nibble.Formats.Gguf;

namespace Nibble.Models.Decoders.Families;

/// <summary>Decoders with one architecture: how their configurations are read, and how llama.cpp stores them.</summary>
internal abstract class DecoderFamily : IModelFamily
{
    /// <summary>The registered families.</summary>
    public static IReadOnlyList<DecoderFamily> All { get; } =
        [new LlamaFamily(), new GemmaFamily(), new Gemma2Family(), new Gemma3Family(), new Phi3Family(), new SmolLm3Family(), new Olmo2Family(),
            new GraniteFamily()];

    /// <inheritdoc/>
    public abstract IReadOnlyList<string> ModelTypes { get; }

    /// <summary>Whether <c>attention_bias</c> and <c>mlp_bias</c> give every layer of a block a bias.</summary>
    public virtual bool CanHaveBiases(string modelType) => false;

    /// <summary>The family of a type; null if there is none.</summary>
    public static DecoderFamily? Find(string modelType) => All.FirstOrDefault(family => family.ModelTypes.Contains(modelType));

    /// <summary>The family of a configuration.</summary>
    public static DecoderFamily Of(DecoderConfig config) => Find(config.ModelType)!;

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="NibbleException">It requires an unsupported feature.</exception>
    public abstract DecoderConfig Read(DecoderReader reader);

    /// <summary>How llama.cpp stores a model.</summary>
    public abstract GgufArchitecture Gguf(DecoderConfig config);

    /// <inheritdoc/>
    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => DecoderConfig.Parse(configJson, source, unknown);

    /// <summary>One rotary embedding for all layers, without windows.</summary>
    protected static Func<DecoderConfig, IReadOnlyList<DecoderLayer>> Uniform(DecoderReader reader, DecoderDefaults defaults) =>
        config => [new DecoderLayer(reader.Rotary(DecoderReader.Full, config.HeadSize, defaults))];

    /// <summary>A number in a file's metadata.</summary>
    protected static KeyValuePair<string, GgufValue> Key(string name, double value) => new(name, GgufValue.Of((float)value));

    /// <summary>A whole number in a file's metadata.</summary>
    protected static KeyValuePair<string, GgufValue> Key(string name, int value) => new(name, GgufValue.Of((uint)value));
}
