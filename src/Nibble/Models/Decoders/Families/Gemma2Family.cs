namespace Nibble.Models.Decoders.Families;

/// <summary>Gemma 2 (Gemma Team 2024): windows in every other layer, norms on both sides, and caps of scores and logits.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_gemma2.py</c>.</remarks>
internal sealed class Gemma2Family : DecoderFamily
{
    private const int LayersOf27B = 46;

    public override IReadOnlyList<string> ModelTypes => ["gemma2"];

    public override DecoderConfig Read(DecoderReader reader)
    {
        reader.RequireActivation("hidden_act", "gelu_pytorch_tanh");
        reader.RequireActivation("hidden_activation", "gelu_pytorch_tanh");
        var defaults = new DecoderDefaults { Positions = 8192, TiedHead = true, HeadSize = 256 };
        var window = reader.Config.Positive("sliding_window", 4096);
        var read = reader.Read(defaults, read =>
        {
            DecoderLayer Of(string kind) =>
                new(reader.Rotary(kind, read.HeadSize, defaults), kind == DecoderReader.Sliding ? window : null);
            return [.. (reader.LayerTypes(read.Layers) ?? [DecoderReader.Sliding, DecoderReader.Full]).Select(Of)];
        });
        return GemmaFamily.Common(reader, read) with
        {
            Norms = DecoderNorms.OfBoth,
            AttentionScale = 1 / Math.Sqrt(reader.Config.PositiveNumber("query_pre_attn_scalar", 256)),
            AttentionCap = reader.Optional("attn_logit_softcapping", 50),
            LogitCap = reader.Optional("final_logit_softcapping", 30),
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("gemma2")
    {
        AlwaysTied = true,
        Keys =
        [
            Key("attention.sliding_window", config.LayerPattern.Select(layer => layer.Window).OfType<int>().FirstOrDefault(config.MaxPositions)),
            Key("attn_logit_softcapping", config.AttentionCap ?? 0),
            Key("final_logit_softcapping", config.LogitCap ?? 0),
        ],
        Fault = WindowFault(config, 2) ?? ScaleFault(config, LayersOf27B)
            ?? (config.LogitCap is null || config.AttentionCap is null ? "no caps of scores or logits (attn_logit_softcapping, final_logit_softcapping)" : null),
    };

    /// <summary>Why llama.cpp, which has the pattern of windows in its code, computes others than a model's; null if it does not.</summary>
    /// <param name="config">The model.</param>
    /// <param name="period">Every layer has a window, but for the last one of each so many.</param>
    internal static string? WindowFault(DecoderConfig config, int period) =>
        Enumerable.Range(0, config.Layers).All(layer => (config.LayerOf(layer).Window is null) == ((layer + 1) % period == 0))
            ? null : $"windows in other layers than llama.cpp's, which leaves out the last of every {period} (layer_types)";

    /// <summary>Why llama.cpp, which derives the factor of scores from the number of layers, computes another than a model's; null if it does not.</summary>
    internal static string? ScaleFault(DecoderConfig config, int layersOf27B)
    {
        var scalar = config.Layers == layersOf27B ? config.HiddenSize / config.Heads : config.HeadSize;
        return config.AttentionScale == 1 / Math.Sqrt(scalar) ? null : $"a query_pre_attn_scalar other than {scalar}";
    }
}
