namespace Nibble.Models.Decoders.Families;

/// <summary>Llama (Touvron et al. 2023), Mistral and Qwen.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_llama.py</c>, <c>_mistral.py</c>, <c>_qwen2.py</c> and <c>_qwen3.py</c>.</remarks>
internal sealed class LlamaFamily : DecoderFamily
{
    private const int DefaultWindow = 4096;

    public override IReadOnlyList<string> ModelTypes => ["llama", "mistral", "qwen2", "qwen3"];

    public override string NameOf(string modelType) => modelType switch
    {
        "mistral" => "Mistral, Mistral Nemo",
        "qwen2" => "Qwen2, Qwen2.5, R1-Distill-Qwen",
        "qwen3" => "Qwen3",
        _ => "Llama, TinyLlama, SmolLM2, Yi, R1-Distill-Llama",
    };

    public override bool CanHaveBiases(string modelType) => modelType == "llama";

    public override string ClassOf(string modelType) =>
        modelType switch { "qwen2" => "Qwen2ForCausalLM", "qwen3" => "Qwen3ForCausalLM", "mistral" => "MistralForCausalLM", _ => "LlamaForCausalLM" };

    public override DecoderConfig Read(DecoderReader reader)
    {
        var (config, type) = (reader.Config, reader.Type);
        reader.RequireActivation("hidden_act", "silu");

        // Values that transformers has in a family's code are not required.
        var defaults = new DecoderDefaults { Positions = type switch { "mistral" => 131072, "qwen2" or "qwen3" => 32768, _ => 2048 } };
        var window = Window(config, type);
        var attentionBias = config.Flag("attention_bias", false) || type == "qwen2";
        return reader.Read(defaults, read => [new DecoderLayer(Rotary(reader, read, window, defaults))]) with
        {
            QueryKeyValueBias = attentionBias,
            OutputBias = attentionBias && type != "qwen2",
            FeedForwardBias = config.Flag("mlp_bias", false),
            QueryKeyNorm = type == "qwen3" ? QueryKeyNorm.EachHead : QueryKeyNorm.None,
            SlidingWindow = window,
            AttentionChunk = Chunk(config),
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => config.ModelType switch
    {
        "qwen2" => new("qwen2") { QueryKeyValueBias = true, HeadsAreWholeWidth = true },
        "qwen3" => new("qwen3"),
        _ => new("llama") { ReordersHeads = true, QueryKeyValueBias = true, OutputBias = true, FeedForwardBias = true, RotaryFactors = true },
    };

    public override string? TypeOf(string architecture, IGgufKeys file) => architecture is "llama" or "qwen2" or "qwen3" ? architecture : null;

    // If the window is absent, it is 4096 in the families that have one. Null means no window.
    private static int? Window(ConfigReader config, string type)
    {
        var slides = config.Flag("use_sliding_window", false);
        return !(type == "mistral" || (slides && type != "llama")) ? null
            : config.Get("sliding_window") is not null ? config.Positive("sliding_window")
            : config.Has("sliding_window") ? null : DefaultWindow;
    }

    /// <summary>The rotary embedding, which is the same for all layers.</summary>
    private static RotaryEmbedding Rotary(DecoderReader reader, DecoderConfig read, int? window, DecoderDefaults defaults)
    {
        var kinds = (reader.LayerTypes(read.Layers) ?? [DecoderReader.Full]).Distinct().ToList();
        if (kinds.Contains(DecoderReader.Sliding) && window is null && reader.Type != "llama")
        {
            throw reader.Config.Wrong("layer_types", reader.Config.Get("layer_types")!.Value, "no sliding_attention, since there is no sliding_window");
        }

        var all = kinds.ConvertAll(kind => reader.Rotary(kind, read.HeadSize, defaults));
        return all.FindIndex(other => other != all[0]) is >= 0 and var differs
            ? throw new NibbleException($"{reader.Config.Source}: rope_parameters differs between '{kinds[0]}' and '{kinds[differs]}', which is not supported "
                + $"for models of type {reader.Type}; expected the same for all layers")
            : all[0];
    }

    /// <summary>The number of positions in one chunk with its surroundings, within which attention is plain.</summary>
    private static int? Chunk(ConfigReader config)
    {
        if (config.Object("dual_chunk_attention_config") is not { } chunks)
        {
            return null;
        }

        var (size, local) = (chunks.Positive("chunk_size"), chunks.Positive("local_size"));
        chunks.Get("original_max_position_embeddings");
        ConfigKeys.RequireOnly(chunks, "attention over chunks is supported only if it attends to every chunk");
        return size > local ? size - local : throw chunks.Wrong("local_size", chunks.Get("local_size")!.Value,
            $"fewer than the {size} positions of a chunk");
    }
}
