using System.Globalization;
using System.Text;
using System.Text.Json;
using Nibble.Formats.Gguf;
using Nibble.Models.Decoders;
using Nibble.Models.Decoders.Families;

namespace Nibble.Export;

/// <summary>Builds the <c>config.json</c> of a model from a GGUF file.</summary>
/// <remarks>Keys of the file: ggml-org/ggml, <c>docs/gguf.md</c>.</remarks>
internal static class ImportedConfig
{
    /// <summary>The key for the model's name in the file. Not Hugging Face's <c>_name_or_path</c>, which often is a local folder.</summary>
    private const string NameKey = "nibble_imported_name";

    // The same in Llama 3.1 and all models that follow it. Only the factor and the original context differ.
    private const double LowFrequencyFactor = 1;
    private const double HighFrequencyFactor = 4;

    /// <summary>The name that an imported model had in its file; null for other models.</summary>
    public static string? NameIn(string configJson)
    {
        using var document = JsonDocument.Parse(configJson);
        return document.RootElement.TryGetProperty(NameKey, out var name) && name.ValueKind == JsonValueKind.String ? name.GetString() : null;
    }

    /// <summary>Reads the metadata.</summary>
    /// <returns>The text of a <c>config.json</c>, and its parsed form.</returns>
    /// <exception cref="NibbleException">The metadata is incomplete or of a model that is not supported.</exception>
    public static (string Json, DecoderConfig Config) Read(GgufFile file)
    {
        var reader = new Reader(file);
        var json = reader.Write(rotary: null);
        var config = DecoderConfig.Parse(json, file.Path);
        RotaryScaling? rotary = file.FindTensor(GgufNames.RotaryFactors) is { } factors ? FindRotary(file, config, file.ReadFloats(factors))
            : file.FindTensor(GgufNames.ShortFactors) is { } few && file.FindTensor(GgufNames.LongFactors) is { } many
                ? reader.LongRope(file.ReadFloats(few), file.ReadFloats(many))
            : null;
        if (rotary is not null)
        {
            json = reader.Write(rotary);
            config = DecoderConfig.Parse(json, file.Path);
        }

        return (json, config);
    }

    /// <summary>Finds the parameters that reproduce the file's factors. The file does not store them.</summary>
    private static Llama3Scaling FindRotary(GgufFile file, DecoderConfig config, float[] factors)
    {
        // The longest wavelength is divided by the whole factor.
        double factor = factors.Max();
        for (var context = 1; context > 0; context <<= 1)
        {
            var scaling = new Llama3Scaling(factor, LowFrequencyFactor, HighFrequencyFactor, context);
            var stretched = config with { LayerPattern = [new DecoderLayer(config.Rotary! with { Scaling = scaling })] };
            if (GgufMetadata.RotaryFactors(stretched).Single().Factors.SequenceEqual(factors))
            {
                return scaling;
            }
        }

        throw new NibbleException(
            $"{file.Path}: the tensor {GgufNames.RotaryFactors} divides the rotary frequencies differently from Llama 3, which is not supported");
    }

    private sealed class Reader(GgufFile file) : IGgufKeys
    {
        private readonly string architecture = file.Find("general.architecture")?.AsText() ?? string.Empty;

        public string Write(RotaryScaling? rotary)
        {
            var type = ModelType();
            var family = DecoderFamily.Find(type)!;
            var heads = Count("attention.head_count");
            var hidden = Count("embedding_length");
            var headSize = Count("attention.key_length", Math.Max(1, hidden / Math.Max(1, heads)));
            RequireRotary(headSize, family);
            using var stream = new MemoryStream();
            using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
            {
                json.WriteStartObject();
                json.WriteStartArray("architectures");
                json.WriteStringValue(family.ClassOf(type));
                json.WriteEndArray();
                json.WriteString("model_type", type);
                json.WriteNumber("hidden_size", hidden);
                json.WriteNumber("intermediate_size", Count("feed_forward_length"));
                json.WriteNumber("num_hidden_layers", Count("block_count"));
                json.WriteNumber("num_attention_heads", heads);
                json.WriteNumber("num_key_value_heads", Count("attention.head_count_kv", heads));
                json.WriteNumber("head_dim", headSize);
                json.WriteNumber("vocab_size", Vocabulary());
                json.WriteNumber("max_position_embeddings", Count("context_length"));
                Number(json, "rms_norm_eps", "attention.layer_norm_rms_epsilon", null);
                Number(json, "rope_theta", "rope.freq_base", 10000);
                family.WriteKeys(json, this, headSize);
                json.WriteBoolean("tie_word_embeddings", file.FindTensor("output.weight") is null);
                json.WriteBoolean("attention_bias", file.FindTensor("blk.0.attn_q.bias") is not null);
                json.WriteBoolean("mlp_bias", file.FindTensor("blk.0.ffn_up.bias") is not null);
                WriteRotary(json, rotary);
                Id(json, "bos_token_id");
                Id(json, "eos_token_id");
                if (file.Find("general.name")?.AsText() is { } name)
                {
                    json.WriteString(NameKey, name);
                }

                json.WriteEndObject();
            }

            return Encoding.UTF8.GetString(stream.ToArray());
        }

        double? IGgufKeys.Number(string name) => Find(name) is null ? null : Number(name);

        int? IGgufKeys.Count(string name) => Find(name) is null ? null : Count(name);

        /// <summary>The divisors of LongRoPE, with the factor of rotated values from the metadata.</summary>
        public LongRopeScaling LongRope(float[] few, float[] many) => new(
            Array.ConvertAll(few, factor => (double)factor), Array.ConvertAll(many, factor => (double)factor), Count("rope.scaling.original_context_length"),
            Find("rope.scaling.attn_factor") is null ? 1 : Number("rope.scaling.attn_factor"));

        private string ModelType()
        {
            var experts = Find("expert_count")?.AsInteger() is > 0;
            return (experts ? null : DecoderFamily.All.Select(family => family.TypeOf(architecture, this)).OfType<string>().FirstOrDefault())
                ?? throw new NibbleException(
                    $"{file.Path}: the architecture is '{architecture}'{(experts ? " with experts" : string.Empty)}, expected "
                    + $"a dense model of {string.Join(", ", DecoderFamily.Architectures)}");
        }

        private void RequireRotary(int headSize, DecoderFamily family)
        {
            if ((Count("rope.dimension_count", headSize) != headSize && !family.CanRotatePart) || Count("attention.value_length", headSize) != headSize)
            {
                throw new NibbleException(
                    $"{file.Path}: heads have {headSize} channels, of which {Count("rope.dimension_count", headSize)} are rotated, and values have "
                    + $"{Count("attention.value_length", headSize)}; expected the same size for all three");
            }

            if (Find("rope.scaling.attn_factor")?.AsNumber() is { } attention and not 1 && file.FindTensor(GgufNames.ShortFactors) is null)
            {
                throw new NibbleException(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{file.Path}: {architecture}.rope.scaling.attn_factor scales the rotated values by {attention}, which is not supported; expected 1"));
            }

            if (file.FindTensor(GgufNames.RotaryFactors) is not null && LinearKey() is { } both)
            {
                throw new NibbleException(
                    $"{file.Path}: rotary frequencies are divided by {architecture}.{both} and by the tensor {GgufNames.RotaryFactors}, expected only one");
            }

            if (Find("rope.scaling.type")?.AsText() is { } kind && kind is not ("none" or "linear" or "yarn" or "longrope"))
            {
                throw new NibbleException(
                    $"{file.Path}: rotary scaling of type '{kind}' is not supported; supported: none, linear, yarn, longrope, and factors as in Llama 3");
            }
        }

        private void WriteRotary(Utf8JsonWriter json, RotaryScaling? rotary)
        {
            if (rotary is Llama3Scaling scaling)
            {
                json.WriteStartObject("rope_scaling");
                json.WriteString("rope_type", "llama3");
                json.WriteNumber("factor", scaling.Factor);
                json.WriteNumber("low_freq_factor", scaling.LowFrequencyFactor);
                json.WriteNumber("high_freq_factor", scaling.HighFrequencyFactor);
                json.WriteNumber("original_max_position_embeddings", scaling.OriginalContext);
                json.WriteEndObject();
            }
            else if (rotary is LongRopeScaling factors)
            {
                json.WriteStartObject("rope_scaling");
                json.WriteString("rope_type", "longrope");
                Numbers(json, "short_factor", factors.Short);
                Numbers(json, "long_factor", factors.Long);
                json.WriteNumber("attention_factor", (float)factors.AttentionFactor);
                json.WriteNumber("original_max_position_embeddings", factors.OriginalContext);
                json.WriteEndObject();
            }
            else if (Find("rope.scaling.type")?.AsText() is "yarn")
            {
                json.WriteStartObject("rope_scaling");
                json.WriteString("rope_type", "yarn");
                Number(json, "factor", "rope.scaling.factor", null);
                json.WriteNumber("original_max_position_embeddings", Count("rope.scaling.original_context_length"));
                json.WriteEndObject();
            }
            else if (LinearKey() is { } key)
            {
                json.WriteStartObject("rope_scaling");
                json.WriteString("rope_type", "linear");
                Number(json, "factor", key, null);
                json.WriteEndObject();
            }
        }

        private static void Numbers(Utf8JsonWriter json, string name, IEnumerable<double> values)
        {
            json.WriteStartArray(name);
            foreach (var value in values)
            {
                json.WriteNumberValue((float)value);
            }

            json.WriteEndArray();
        }

        /// <summary>The key of the factor that divides positions; null if there is none.</summary>
        /// <remarks>As in llama.cpp: without a type the factor is linear, 0 means none, and files from 2023 use another key.</remarks>
        private string? LinearKey() => Find("rope.scaling.type")?.AsText() is "none" ? null
            : ((string[])["rope.scaling.factor", "rope.scale_linear"]).FirstOrDefault(key => Find(key) is not null) is { } found
                && Find(found)!.AsNumber() is not 0 ? found : null;

        private GgufValue? Find(string key) => file.Find($"{architecture}.{key}");

        private int Vocabulary() => Find("vocab_size") is not null ? Count("vocab_size")
            : file.FindTensor("token_embd.weight") is { Rows: <= int.MaxValue and var rows } ? (int)rows
            : throw new NibbleException($"{file.Path}: there is no tensor token_embd.weight, expected the embedding of each token");

        private int Count(string key, int? otherwise = null)
        {
            if (Find(key) is not { } value)
            {
                return otherwise ?? throw new NibbleException($"{file.Path}: the metadata has no {architecture}.{key}, expected a whole number");
            }

            return value.AsInteger() is > 0 and <= int.MaxValue and var count
                ? (int)count
                : throw new NibbleException(
                    $"{file.Path}: {architecture}.{key} is "
                    + $"{(value.AsInteger() is { } number ? number.ToString(CultureInfo.InvariantCulture) : $"of type {value.Type}")}, expected a whole number "
                    + $"above 0, the same for all blocks");
        }

        private void Number(Utf8JsonWriter json, string name, string key, float? otherwise) => json.WriteNumber(name, Number(key, otherwise));

        private float Number(string key, float? otherwise = null) => Find(key) is { } value
            ? value.AsNumber() is { } number && float.IsFinite((float)number) && number > 0 ? (float)number
                : throw new NibbleException($"{file.Path}: {architecture}.{key} is not a number above 0")
            : otherwise ?? throw new NibbleException($"{file.Path}: the metadata has no {architecture}.{key}, expected a number");

        private void Id(Utf8JsonWriter json, string key)
        {
            if (GgufTokenizerFiles.SpecialId(file, key) is { } id)
            {
                json.WriteNumber(key, id);
            }
        }
    }
}
