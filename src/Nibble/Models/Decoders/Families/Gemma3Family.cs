using System.Text.Json;

namespace Nibble.Models.Decoders.Families;

/// <summary>The text models of Gemma 3 (Gemma Team 2025): five layers of six have a window, with rotary frequencies of their own.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_gemma3.py</c>, <c>Gemma3TextConfig</c>.</remarks>
internal sealed class Gemma3Family : DecoderFamily
{
    private const int LayersOf27B = 62;
    private const string Window = "attention.sliding_window";
    private const double LocalBase = 10000;

    public override IReadOnlyList<string> ModelTypes => ["gemma3_text"];

    public override string NameOf(string modelType) => "Gemma 3 (text models)";

    public override string ClassOf(string modelType) => "Gemma3ForCausalLM";

    public override DecoderConfig Read(DecoderReader reader)
    {
        var config = reader.Config;
        reader.RequireActivation("hidden_activation", "gelu_pytorch_tanh");
        var defaults = new DecoderDefaults
        {
            Positions = 131072,
            TiedHead = true,
            Heads = 8,
            KeyValueHeads = 4,
            HeadSize = 256,
            Vocabulary = 262208,
            RotaryBase = 1_000_000,
        };
        var window = config.Positive("sliding_window", 4096);
        var period = config.Positive("sliding_window_pattern", config.Positive("_sliding_window_pattern", 6));
        var localBase = config.PositiveNumber("rope_local_base_freq", LocalBase);
        var read = reader.Read(defaults, read =>
        {
            // Only newer files have rotary parameters for each kind of layer.
            var own = config.Object("rope_parameters") is { } parameters
                && parameters.Unread.Any(property => property.Value.ValueKind == JsonValueKind.Object);
            var full = new DecoderLayer(reader.Rotary(DecoderReader.Full, read.HeadSize, defaults));
            var local = new DecoderLayer(
                own ? reader.Rotary(DecoderReader.Sliding, read.HeadSize, defaults with { RotaryBase = localBase })
                    : new RotaryEmbedding(localBase, read.HeadSize), window);
            return reader.LayerTypes(read.Layers) is { } types
                ? [.. types.Select(kind => kind == DecoderReader.Full ? full : local)]
                : [.. Enumerable.Repeat(local, period - 1), full];
        });
        return GemmaFamily.Common(reader, read) with
        {
            Norms = DecoderNorms.OfBoth,
            QueryKeyNorm = QueryKeyNorm.EachHead,
            AttentionScale = 1 / Math.Sqrt(config.PositiveNumber("query_pre_attn_scalar", 256)),
            AttentionCap = reader.Optional("attn_logit_softcapping"),
            LogitCap = reader.Optional("final_logit_softcapping"),
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("gemma3")
    {
        AlwaysTied = true,
        Keys =
        [
            new GgufKey(Window, config.LayerPattern.Select(layer => layer.Window).OfType<int>().FirstOrDefault(config.MaxPositions)),
        ],
        Fault = Gemma2Family.WindowFault(config, 6) ?? Gemma2Family.ScaleFault(config, LayersOf27B)
            ?? (config.Rotary?.Scaling is YarnScaling ? "rotary scaling of type yarn" : null)
            ?? (config.LogitCap is not null || config.AttentionCap is not null ? "caps of scores or logits" : null)
            ?? (config.LayerPattern.Any(layer => layer.Window is not null && (layer.Rotary!.Base != LocalBase || layer.Rotary.Scaling is not null))
                ? $"rotary frequencies of windows other than those of the base {LocalBase}" : null),
    };

    public override string? TypeOf(string architecture, IGgufKeys file) => architecture == "gemma3" ? "gemma3_text" : null;

    public override void WriteKeys(Utf8JsonWriter json, IGgufKeys file, int headSize)
    {
        GemmaFamily.WriteActivation(json);
        json.WriteNumber("sliding_window", file.Count(Window)
            ?? throw new NibbleException($"the metadata has no gemma3.{Window}, expected the window of most layers"));
        json.WriteNumber("query_pre_attn_scalar", Gemma2Family.Scalar(file, headSize, LayersOf27B));
    }
}
