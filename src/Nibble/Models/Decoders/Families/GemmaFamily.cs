using System.Text.Json;

namespace Nibble.Models.Decoders.Families;

/// <summary>Gemma (Gemma Team 2024), the first version.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_gemma.py</c>.</remarks>
internal sealed class GemmaFamily : DecoderFamily
{
    public override IReadOnlyList<string> ModelTypes => ["gemma"];

    public override string NameOf(string modelType) => "Gemma";

    public override string ClassOf(string modelType) => "GemmaForCausalLM";

    public override DecoderConfig Read(DecoderReader reader)
    {
        // The first files name the exact GELU, which the models were not trained with; transformers ignores the name.
        reader.RequireActivation("hidden_act", "gelu_pytorch_tanh", "gelu");
        reader.RequireActivation("hidden_activation", "gelu_pytorch_tanh");
        var defaults = new DecoderDefaults { Positions = 8192, TiedHead = true, HeadSize = 256 };
        return Common(reader, reader.Read(defaults, Uniform(reader, defaults)));
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("gemma") { AlwaysTied = true };

    public override string? TypeOf(string architecture, IGgufKeys file) => architecture == "gemma" ? "gemma" : null;

    public override void WriteKeys(Utf8JsonWriter json, IGgufKeys file, int headSize) => WriteActivation(json);

    /// <summary>Writes the activation of all Gemma models.</summary>
    internal static void WriteActivation(Utf8JsonWriter json) => json.WriteString("hidden_activation", "gelu_pytorch_tanh");

    /// <summary>What all Gemma models have.</summary>
    internal static DecoderConfig Common(DecoderReader reader, DecoderConfig read)
    {
        var bias = reader.Config.Flag("attention_bias", false);
        return read with
        {
            NormsAddOne = true,
            Activation = DecoderActivation.GeluTanh,
            EmbeddingScale = Math.Sqrt(read.HiddenSize),
            QueryKeyValueBias = bias,
            OutputBias = bias,
        };
    }
}
