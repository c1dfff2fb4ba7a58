using System.Text.Json;

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

    /// <summary>The names of the models of a type, for documents.</summary>
    public abstract string NameOf(string modelType);

    /// <summary>Whether <c>attention_bias</c> and <c>mlp_bias</c> give every layer of a block a bias.</summary>
    public virtual bool CanHaveBiases(string modelType) => false;

    /// <summary>The llama.cpp architectures of all families.</summary>
    public static IReadOnlyList<string> Architectures { get; } =
        ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "granite"];

    /// <summary>Whether files may rotate only part of a head.</summary>
    public virtual bool CanRotatePart => false;

    /// <summary>The class that transformers has for a type.</summary>
    public abstract string ClassOf(string modelType);

    /// <summary>The family of a type; null if there is none.</summary>
    public static DecoderFamily? Find(string modelType) => All.FirstOrDefault(family => family.ModelTypes.Contains(modelType));

    /// <summary>The family of a configuration.</summary>
    public static DecoderFamily Of(DecoderConfig config) => Find(config.ModelType)!;

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="NibbleException">It requires an unsupported feature.</exception>
    public abstract DecoderConfig Read(DecoderReader reader);

    /// <summary>How llama.cpp stores a model.</summary>
    public abstract GgufArchitecture Gguf(DecoderConfig config);

    /// <summary>The <c>model_type</c> of a file with one of this family's llama.cpp architectures; null for another architecture.</summary>
    /// <param name="architecture">The architecture's name.</param>
    /// <param name="file">The file's metadata.</param>
    public abstract string? TypeOf(string architecture, IGgufKeys file);

    /// <summary>Writes the keys of a configuration that only this family has, from a file's metadata.</summary>
    /// <param name="json">The configuration, inside its object.</param>
    /// <param name="file">The file's metadata.</param>
    /// <param name="headSize">The width of a head.</param>
    public virtual void WriteKeys(Utf8JsonWriter json, IGgufKeys file, int headSize) => json.WriteString("hidden_act", "silu");

    /// <inheritdoc/>
    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => DecoderConfig.Parse(configJson, source, unknown);

    /// <summary>One rotary embedding for all layers, without windows.</summary>
    protected static Func<DecoderConfig, IReadOnlyList<DecoderLayer>> Uniform(DecoderReader reader, DecoderDefaults defaults) =>
        config => [new DecoderLayer(reader.Rotary(DecoderReader.Full, config.HeadSize, defaults))];
}
