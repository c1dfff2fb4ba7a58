namespace Nibble.Models.Decoders.Families;

/// <summary>SmolLM3 (Hugging Face 2025): Llama with some layers that have no rotary embedding (Yang et al. 2025).</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_smollm3.py</c>.</remarks>
internal sealed class SmolLm3Family : DecoderFamily
{
    private const int Interval = 4;

    public override IReadOnlyList<string> ModelTypes => ["smollm3"];

    public override string NameOf(string modelType) => "SmolLM3";

    public override bool CanHaveBiases(string modelType) => true;

    public override string ClassOf(string modelType) => "SmolLM3ForCausalLM";

    public override DecoderConfig Read(DecoderReader reader)
    {
        var config = reader.Config;
        reader.RequireActivation("hidden_act", "silu");
        var defaults = new DecoderDefaults { Positions = 32768, RotaryBase = 2_000_000, TiedHead = true };
        if (config.Flag("use_sliding_window", false))
        {
            throw config.Wrong("use_sliding_window", config.Get("use_sliding_window")!.Value, "false: windows are not supported for models of this type");
        }

        var bias = config.Flag("attention_bias", false);
        return reader.Read(defaults, read => Layers(reader, read, reader.Rotary(DecoderReader.Full, read.HeadSize, defaults))) with
        {
            QueryKeyValueBias = bias,
            OutputBias = bias,
            FeedForwardBias = config.Flag("mlp_bias", false),
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("smollm3")
    {
        ReordersHeads = true,
        QueryKeyValueBias = true,
        OutputBias = true,
        FeedForwardBias = true,
        Fault = Enumerable.Range(0, config.Layers).All(layer => config.LayerOf(layer).Rotary is null == ((layer + 1) % Interval == 0))
            ? null : $"rotary embeddings in other layers than llama.cpp's, which leaves out the last of every {Interval} (no_rope_layers)",
    };

    /// <summary>The layers, of which the list says with 1 that they have a rotary embedding, whatever its name suggests.</summary>
    private static IReadOnlyList<DecoderLayer> Layers(DecoderReader reader, DecoderConfig read, RotaryEmbedding rotary)
    {
        const string Key = "no_rope_layers";
        var interval = reader.Config.Positive("no_rope_layer_interval", Interval);
        if (reader.Config.Numbers(Key) is not { Count: > 0 } listed)
        {
            return [.. Enumerable.Range(1, interval).Select(layer => new DecoderLayer(layer % interval == 0 ? null : rotary))];
        }

        return listed.Count == read.Layers && listed.All(number => number is 0 or 1)
            ? [.. listed.Select(number => new DecoderLayer(number == 1 ? rotary : null))]
            : throw reader.Config.Wrong(Key, reader.Config.Get(Key)!.Value, $"0 or 1 for each of the {read.Layers} layers");
    }

    public override string? TypeOf(string architecture, IGgufKeys file) => architecture == "smollm3" ? "smollm3" : null;
}
