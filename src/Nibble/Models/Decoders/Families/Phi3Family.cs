using System.Text.Json;

namespace Nibble.Models.Decoders.Families;

/// <summary>Phi-3, Phi-3.5 and Phi-4 (Abdin et al. 2024): queries, keys and values are one matrix, as are gate and up projection.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_phi3.py</c>.</remarks>
internal sealed class Phi3Family : DecoderFamily
{
    public override IReadOnlyList<string> ModelTypes => ["phi3"];

    public override string NameOf(string modelType) => "Phi-3, Phi-3.5, Phi-4";

    public override bool CanRotatePart => true;

    public override string ClassOf(string modelType) => "Phi3ForCausalLM";

    public override DecoderConfig Read(DecoderReader reader)
    {
        reader.RequireActivation("hidden_act", "silu");
        var defaults = new DecoderDefaults { Positions = 4096, NormEpsilon = 1e-5, PartialRotary = true };
        return reader.Read(defaults, Uniform(reader, defaults)) with
        {
            HasFusedProjections = true,
            QueryKeyValueBias = false,
            SlidingWindow = reader.Config.Get("sliding_window") is not null ? reader.Config.Positive("sliding_window") : null,
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("phi3") { HeadsAreWholeWidth = true, LongRope = true };

    public override string? TypeOf(string architecture, IGgufKeys file) => architecture == "phi3" ? "phi3" : null;

    public override void WriteKeys(Utf8JsonWriter json, IGgufKeys file, int headSize)
    {
        base.WriteKeys(json, file, headSize);
        if (file.Count("rope.dimension_count") is { } channels && channels != headSize)
        {
            json.WriteNumber("partial_rotary_factor", channels / (double)headSize);
        }
    }
}
