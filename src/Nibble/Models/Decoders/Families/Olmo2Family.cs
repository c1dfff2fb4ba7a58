using System.Text.Json;

namespace Nibble.Models.Decoders.Families;

/// <summary>OLMo 2 and OLMo 3 (OLMo Team 2024, 2025): norms of outputs, and of all queries and keys together; OLMo 3 has windows.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_olmo2.py</c> and <c>configuration_olmo3.py</c>.</remarks>
internal sealed class Olmo2Family : DecoderFamily
{
    private const int Period = 4;
    private const string Window = "attention.sliding_window";

    public override IReadOnlyList<string> ModelTypes => ["olmo2", "olmo3"];

    public override string NameOf(string modelType) => modelType == "olmo3" ? "OLMo 3" : "OLMo 2";

    public override string ClassOf(string modelType) => modelType == "olmo3" ? "Olmo3ForCausalLM" : "Olmo2ForCausalLM";

    public override DecoderConfig Read(DecoderReader reader)
    {
        var config = reader.Config;
        reader.RequireActivation("hidden_act", "silu");
        var defaults = new DecoderDefaults { NormEpsilon = 1e-5 };
        var bias = config.Flag("attention_bias", false);
        return reader.Read(defaults, reader.Type == "olmo2" ? Uniform(reader, defaults) : read => Layers(reader, read, defaults)) with
        {
            Norms = DecoderNorms.OfOutputs,
            QueryKeyNorm = QueryKeyNorm.AllHeads,
            QueryKeyValueBias = bias,
            OutputBias = bias,
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("olmo2")
    {
        HeadsAreWholeWidth = true,
        Keys = [.. config.LayerPattern.Select(layer => layer.Window).OfType<int>().Take(1).Select(window => new GgufKey(Window, window))],
        Fault = config.TiedHead ? "a tied head (tie_word_embeddings)" : config.ModelType == "olmo3" ? Gemma2Family.WindowFault(config, Period) : null,
    };

    public override string? TypeOf(string architecture, IGgufKeys file) =>
        architecture != "olmo2" ? null : file.Count(Window) is null ? "olmo2" : "olmo3";

    public override void WriteKeys(Utf8JsonWriter json, IGgufKeys file, int headSize)
    {
        base.WriteKeys(json, file, headSize);
        if (file.Count(Window) is { } window)
        {
            json.WriteNumber("sliding_window", window);
        }
    }

    /// <summary>Layers with a window do not stretch their frequencies.</summary>
    private static IReadOnlyList<DecoderLayer> Layers(DecoderReader reader, DecoderConfig read, DecoderDefaults defaults)
    {
        var window = reader.Config.Positive("sliding_window", 4096);
        var full = new DecoderLayer(reader.Rotary(DecoderReader.Full, read.HeadSize, defaults));
        var local = new DecoderLayer(full.Rotary! with { Scaling = null }, window);
        return reader.LayerTypes(read.Layers) is { } types
            ? [.. types.Select(kind => kind == DecoderReader.Full ? full : local)]
            : [.. Enumerable.Repeat(local, Period - 1), full];
    }
}
