using System.Text.Json;

namespace Nibble.Models.Decoders.Families;

/// <summary>Gemma 2 (Gemma Team 2024): windows in every other layer, norms on both sides, and caps of scores and logits.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_gemma2.py</c>.</remarks>
internal sealed class Gemma2Family : DecoderFamily
{
    private const int LayersOf27B = 46;
    private const int DefaultWindow = 4096;
    private const double DefaultScoreCap = 50;
    private const double DefaultLogitCap = 30;
    private const string Window = "attention.sliding_window";
    private const string ScoreCap = "attn_logit_softcapping";
    private const string LogitCap = "final_logit_softcapping";

    public override IReadOnlyList<string> ModelTypes => ["gemma2"];

    public override string NameOf(string modelType) => "Gemma 2";

    public override string ClassOf(string modelType) => "Gemma2ForCausalLM";

    public override DecoderConfig Read(DecoderReader reader)
    {
        reader.RequireActivation("hidden_act", "gelu_pytorch_tanh");
        reader.RequireActivation("hidden_activation", "gelu_pytorch_tanh");
        var defaults = new DecoderDefaults { Positions = 8192, TiedHead = true, HeadSize = 256 };
        var window = reader.Config.Positive("sliding_window", DefaultWindow);
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
            AttentionCap = reader.Optional(ScoreCap, DefaultScoreCap),
            LogitCap = reader.Optional(LogitCap, DefaultLogitCap),
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("gemma2")
    {
        AlwaysTied = true,
        Keys =
        [
            new GgufKey(Window, config.LayerPattern.Select(layer => layer.Window).OfType<int>().FirstOrDefault(config.MaxPositions)),
            new GgufKey(ScoreCap, config.AttentionCap ?? 0),
            new GgufKey(LogitCap, config.LogitCap ?? 0),
        ],
        Fault = WindowFault(config, 2) ?? ScaleFault(config, LayersOf27B)
            ?? (config.LogitCap is null || config.AttentionCap is null ? $"no caps of scores or logits ({ScoreCap}, {LogitCap})" : null),
    };

    public override string? TypeOf(string architecture, IGgufKeys file) => architecture == "gemma2" ? "gemma2" : null;

    public override void WriteKeys(Utf8JsonWriter json, IGgufKeys file, int headSize)
    {
        GemmaFamily.WriteActivation(json);
        json.WriteNumber("sliding_window", file.Count(Window) ?? DefaultWindow);
        json.WriteNumber("query_pre_attn_scalar", Scalar(file, headSize, LayersOf27B));
        json.WriteNumber(ScoreCap, file.Number(ScoreCap) ?? DefaultScoreCap);
        json.WriteNumber(LogitCap, file.Number(LogitCap) ?? DefaultLogitCap);
    }

    /// <summary>Why llama.cpp, which has the pattern of windows in its code, computes others than a model's; null if it does not.</summary>
    /// <param name="config">The model.</param>
    /// <param name="period">Every layer has a window, but for the last one of each so many.</param>
    internal static string? WindowFault(DecoderConfig config, int period) =>
        Enumerable.Range(0, config.Layers).All(layer => (config.LayerOf(layer).Window is null) == ((layer + 1) % period == 0))
            ? null : $"windows in other layers than llama.cpp's, which leaves out the last of every {period} (layer_types)";

    /// <summary>Why llama.cpp, which derives the factor of scores from the number of layers, computes another than a model's; null if it does not.</summary>
    internal static string? ScaleFault(DecoderConfig config, int layersOf27B)
    {
        var scalar = Scalar(config.Layers, config.HiddenSize, config.Heads, config.HeadSize, layersOf27B);
        return config.AttentionScale == 1 / Math.Sqrt(scalar) ? null : $"a query_pre_attn_scalar other than {scalar}";
    }

    /// <summary>The <c>query_pre_attn_scalar</c> that llama.cpp computes with.</summary>
    internal static int Scalar(IGgufKeys file, int headSize, int layersOf27B) => Scalar(
        file.Count("block_count") ?? 0, file.Count("embedding_length") ?? 0, file.Count("attention.head_count") ?? 1, headSize, layersOf27B);

    private static int Scalar(int layers, int hidden, int heads, int headSize, int layersOf27B) => layers == layersOf27B ? hidden / heads : headSize;
}
