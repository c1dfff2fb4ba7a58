using System.Text.Json.Nodes;
using Nibble.Models;
using Nibble.Models.Decoders;

namespace Nibble.Tests.Models.Decoders;

public sealed class DecoderConfigTests
{
    private const string Smallest = """
        {"model_type":"llama","vocab_size":100,"hidden_size":32,"intermediate_size":64,"num_hidden_layers":3,"num_attention_heads":4}
        """;

    [Fact]
    public void ParseFillsInWhatIsAbsent() => Assert.Equal(
        new DecoderConfig
        {
            ModelType = "llama",
            VocabularySize = 100,
            HiddenSize = 32,
            IntermediateSize = 64,
            Layers = 3,
            Heads = 4,
            KeyValueHeads = 4,
            HeadSize = 8,
            MaxPositions = 2048,
            NormEpsilon = 1e-6,
            LayerPattern = [],
        },
        Parse() with { LayerPattern = [] });

    [Fact]
    public void ParseReadsEverything()
    {
        var config = Parse(
            ("num_key_value_heads", "2"), ("head_dim", "16"), ("max_position_embeddings", "77"), ("rms_norm_eps", "0.5"), ("rope_theta", "500000"),
            ("tie_word_embeddings", "true"), ("attention_bias", "true"), ("mlp_bias", "true"), ("hidden_act", "\"silu\""), ("rope_scaling", "null"));
        Assert.Equal((2, 16, 77, 0.5, 500000d), (config.KeyValueHeads, config.HeadSize, config.MaxPositions, config.NormEpsilon, config.Rotary!.Base));
        Assert.True(config.TiedHead && config.QueryKeyValueBias && config.OutputBias && config.FeedForwardBias);
        Assert.Equal(QueryKeyNorm.None, config.QueryKeyNorm);
        Assert.Equal(new DecoderLayer(new RotaryEmbedding(500000, 16)), Assert.Single(config.LayerPattern));
    }

    [Theory]
    [InlineData("llama", false, false, false)]
    [InlineData("mistral", false, false, false)]
    [InlineData("qwen2", true, false, false)]
    [InlineData("qwen3", false, false, true)]
    public void ParseKnowsTheFamilies(string type, bool bias, bool outputBias, bool norms)
    {
        var config = Parse(("model_type", $"\"{type}\""));
        Assert.Equal((bias, outputBias, norms), (config.QueryKeyValueBias, config.OutputBias, config.QueryKeyNorm == QueryKeyNorm.EachHead));
        Assert.Contains(type, DecoderConfig.SupportedTypes);
    }

    [Theory]
    [InlineData("mistral", "4096", "false", 4096)]
    [InlineData("mistral", "null", "false", null)]
    [InlineData("qwen2", "4096", "false", null)]
    [InlineData("qwen2", "4096", "true", 4096)]
    [InlineData("llama", "4096", "false", null)]
    public void ParseReadsTheSlidingWindowWhereItIsUsed(string type, string window, string use, int? expected) =>
        Assert.Equal(expected, Parse(("model_type", $"\"{type}\""), ("sliding_window", window), ("use_sliding_window", use)).SlidingWindow);

    [Theory]
    [InlineData("rope_parameters", """{"rope_type":"default","rope_theta":5000}""", 5000, null)]
    [InlineData("rope_parameters", """{"rope_theta":5000}""", 5000, null)]
    [InlineData("rope_scaling", """{"type":"linear","factor":4}""", 10000, 0)]
    [InlineData("rope_scaling", """{"rope_type":"llama3","factor":4,"low_freq_factor":1,"high_freq_factor":2,"original_max_position_embeddings":8192}""", 10000, 8192)]
    [InlineData("rope_parameters", """{"rope_type":"llama3","rope_theta":5000,"factor":4,"low_freq_factor":1,"high_freq_factor":2,"original_max_position_embeddings":8192}""", 5000, 8192)]
    public void ParseReadsTheRotarySettings(string key, string json, double rotaryBase, int? originalContext)
    {
        var config = Parse((key, json));
        Assert.Equal(rotaryBase, config.Rotary!.Base);
        Assert.Equal<RotaryScaling?>(
            originalContext switch { null => null, 0 => new LinearScaling(4), _ => new Llama3Scaling(4, 1, 2, 8192) }, config.Rotary.Scaling);
    }

    [Theory]
    [InlineData("""{"full_attention":{"rope_type":"default","rope_theta":1000000.0}}""", "null")]
    [InlineData("""{"full_attention":{"rope_theta":1000000},"sliding_attention":{"rope_theta":5}}""",
        """["full_attention","full_attention","full_attention"]""")]
    [InlineData("""{"full_attention":{"rope_theta":1000000},"sliding_attention":{"rope_theta":1e6,"rope_type":"default"}}""",
        """["full_attention","sliding_attention","full_attention"]""")]
    public void ParseReadsRotarySettingsOfEachKindOfAttentionWhereTheyAreTheSame(string rotary, string types) =>
        Assert.Equal(1e6, Parse(("rope_parameters", rotary), ("layer_types", types)).Rotary!.Base);

    [Theory]
    [InlineData("mistral", "{\"sliding_window\":null}", null)]
    [InlineData("mistral", "{}", 4096)]
    [InlineData("qwen2", "{\"use_sliding_window\":true}", 4096)]
    [InlineData("qwen3", "{\"use_sliding_window\":true,\"sliding_window\":null}", null)]
    [InlineData("llama", "{\"use_sliding_window\":true}", null)]
    public void ParseTakesTheWindowOfTheFamilyWhereNoneIsGiven(string type, string further, int? expected) =>
        Assert.Equal(expected, Parse([("model_type", $"\"{type}\""),
            .. JsonNode.Parse(further)!.AsObject().Select(item => (item.Key, item.Value?.ToJsonString() ?? "null"))]).SlidingWindow);

    /// <summary>Qwen 2.5 of a million tokens: attention is plain within the first chunk.</summary>
    [Fact]
    public void ParseEndsSequencesAtTheFirstChunkOfAttention()
    {
        var config = Parse(("max_position_embeddings", "1000"),
            ("dual_chunk_attention_config", """{"chunk_size":300,"local_size":20,"original_max_position_embeddings":300}"""));
        Assert.Equal((280, 280), (config.AttentionChunk, config.MaxSequence));
    }

    /// <summary>As transformers 4 and 5 and the tools around them write them: nothing is refused, and nothing is unknown.</summary>
    [Theory]
    [InlineData("""{"architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":128000,"eos_token_id":[128001"""
        + """,128008],"head_dim":64,"hidden_act":"silu","hidden_size":2048,"initializer_range":0.02,"intermediate_size":8192"""
        + ""","max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama","num_attention_heads":32,"num_hidden_layers":16"""
        + ""","num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0"""
        + ""","original_max_position_embeddings":8192,"rope_type":"llama3"},"rope_theta":500000.0,"tie_word_embeddings":true"""
        + ""","torch_dtype":"bfloat16","transformers_version":"4.45.0.dev0","use_cache":true,"vocab_size":128256,"unsloth_fixed":true"""
        + ""","_name_or_path":"x","_attn_implementation_autoset":true}""")]
    [InlineData("""{"architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":576,"initializer_range":0.04,"intermediate_size":1536"""
        + ""","is_llama_config":true,"max_position_embeddings":8192,"model_type":"llama","num_attention_heads":9,"num_hidden_layers":30"""
        + ""","num_key_value_heads":3,"pad_token_id":2,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_interleaved":false,"rope_scaling":null"""
        + ""","rope_theta":100000,"tie_word_embeddings":true,"transformers.js_config":{"dtype":"q4"},"vocab_size":49152}""")]
    [InlineData("""{"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151645"""
        + ""","hidden_act":"silu","hidden_size":896,"initializer_range":0.02,"intermediate_size":4864,"max_position_embeddings":32768"""
        + ""","max_window_layers":21,"model_type":"qwen2","num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,"rms_norm_eps":1e-06"""
        + ""","rope_theta":1000000.0,"sliding_window":32768,"tie_word_embeddings":true,"use_cache":true,"use_mrope":false,"use_sliding_window":false"""
        + ""","vocab_size":151936}""")]
    [InlineData("""{"architectures":["Qwen3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":null"""
        + ""","dtype":"bfloat16","eos_token_id":151645,"head_dim":128,"hidden_act":"silu","hidden_size":1024,"initializer_range":0.02"""
        + ""","intermediate_size":3072,"layer_types":["full_attention","full_attention"],"max_position_embeddings":40960,"max_window_layers":28"""
        + ""","model_type":"qwen3","num_attention_heads":16,"num_hidden_layers":2,"num_key_value_heads":8,"pad_token_id":null,"rms_norm_eps":1e-06"""
        + ""","rope_parameters":{"rope_theta":1000000,"rope_type":"default"},"sliding_window":null,"tie_word_embeddings":true"""
        + ""","transformers_version":"5.0.0","use_cache":true,"use_sliding_window":false,"vocab_size":151936}""")]
    [InlineData("""{"architectures":["MistralForCausalLM"],"attention_dropout":0.0,"bos_token_id":1,"eos_token_id":2,"head_dim":128"""
        + ""","hidden_act":"silu","hidden_size":4096,"initializer_range":0.02,"intermediate_size":14336,"max_position_embeddings":32768"""
        + ""","model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":1000000.0"""
        + ""","sliding_window":null,"tie_word_embeddings":false,"use_cache":true,"vocab_size":32768,"return_dict":true,"output_attentions":false"""
        + ""","id2label":{"0":"a"},"chunk_size_feed_forward":0,"is_encoder_decoder":false,"pruned_heads":{},"do_sample":false,"temperature":1.0}""")]
    [InlineData("""{"architectures":["BertForSequenceClassification"],"add_cross_attention":false,"attention_probs_dropout_prob":0.1"""
        + ""","classifier_dropout":null"""
        + ""","directionality":"bidi","gradient_checkpointing":false,"hidden_act":"gelu","hidden_dropout_prob":0.1,"hidden_size":768"""
        + ""","id2label":{"0":"a","1":"b"},"initializer_range":0.02,"intermediate_size":3072,"is_decoder":false"""
        + ""","label2id":{"a":0,"b":1},"layer_norm_eps":1e-12,"max_position_embeddings":512"""
        + ""","model_type":"bert","num_attention_heads":12,"num_hidden_layers":12,"pad_token_id":0,"position_embedding_type":"absolute","pooler_fc_size":768"""
        + ""","pooler_type":"first_token_transform","problem_type":"single_label_classification","tie_word_embeddings":true"""
        + ""","type_vocab_size":2,"use_cache":true,"vocab_size":30522}""")]
    [InlineData("""{"activation":"gelu","architectures":["DistilBertForSequenceClassification"],"attention_dropout":0.1,"dim":768,"dropout":0.1"""
        + ""","finetuning_task":"sst-2","hidden_dim":3072,"id2label":{"0":"NEGATIVE","1":"POSITIVE"},"initializer_range":0.02,"label2id":{"NEGATIVE":0"""
        + ""","POSITIVE":1},"max_position_embeddings":512,"model_type":"distilbert","n_heads":12,"n_layers":6,"output_past":true,"pad_token_id":0"""
        + ""","qa_dropout":0.1,"seq_classif_dropout":0.2,"sinusoidal_pos_embds":false,"tie_weights_":true,"vocab_size":30522}""")]
    [InlineData("""{"architectures":["RobertaForSequenceClassification"],"attention_probs_dropout_prob":0.1,"bos_token_id":0,"classifier_dropout":null"""
        + ""","eos_token_id":2,"gradient_checkpointing":false,"hidden_act":"gelu","hidden_dropout_prob":0.1,"hidden_size":768"""
        + ""","id2label":{"0":"a","1":"b","2":"c"},"initializer_range":0.02,"intermediate_size":3072,"label2id":{"a":0},"layer_norm_eps":1e-05"""
        + ""","max_position_embeddings":514,"model_type":"roberta","num_attention_heads":12,"num_hidden_layers":12,"pad_token_id":1"""
        + ""","position_embedding_type":"absolute","type_vocab_size":1,"use_cache":true,"vocab_size":50265}""")]
    public void ParseKnowsTheKeysOfRealCheckpoints(string json) => Assert.Empty(ConfigKeys.Unknown(json, "config.json"));

    [Theory]
    [InlineData("partial_rotary_factor", "1.0")]
    [InlineData("partial_rotary_factor", "null")]
    [InlineData("logit_scale", "1")]
    [InlineData("final_logit_softcapping", "null")]
    [InlineData("final_logit_softcapping", "0")]
    [InlineData("is_causal", "true")]
    [InlineData("hidden_activation", "\"silu\"")]
    [InlineData("per_layer_config", "{}")]
    [InlineData("no_rope_layers", "[]")]
    [InlineData("num_nextn_predict_layers", "0")]
    public void ParseLetsKeysPassThatChangeNothing(string key, string json) => Assert.Empty(Unknown((key, json)));

    [Fact]
    public void UnknownNamesWhatNothingIsKnownAbout() =>
        Assert.Equal(["funny_scale", "auto_map"], Unknown(("funny_scale", "3"), ("auto_map", """{"AutoModel":"m.M"}"""), ("off", "false"),
            ("none", "null"), ("_x", "1"), ("text", "\"\"")));

    [Theory]
    [InlineData("model_type", "\"gpt2\"", "model_type is 'gpt2', which is not supported; supported: llama, mistral, qwen2, qwen3")]
    [InlineData("model_type", "null", "model_type is ''")]
    [InlineData("model_type", "3", "'model_type' is 3, expected a string")]
    [InlineData("hidden_act", "\"gelu\"", "hidden_act is 'gelu', expected 'silu'")]
    [InlineData("hidden_size", "null", "'hidden_size' is missing, expected a positive integer")]
    [InlineData("hidden_size", "0", "'hidden_size' is 0, expected a positive integer of at most 2^24")]
    [InlineData("hidden_size", "-1", "'hidden_size' is -1")]
    [InlineData("hidden_size", "1.5", "'hidden_size' is 1.5")]
    [InlineData("hidden_size", "16777217", "'hidden_size' is 16777217")]
    [InlineData("vocab_size", "\"many\"", "'vocab_size' is \"many\"")]
    [InlineData("num_key_value_heads", "3", "4 attention heads, 3 key-value heads")]
    [InlineData("head_dim", "7", "heads of 7; expected the heads to be a multiple of the key-value heads, and an even head size")]
    [InlineData("tie_word_embeddings", "1", "'tie_word_embeddings' is 1, expected true or false")]
    [InlineData("rms_norm_eps", "\"small\"", "'rms_norm_eps' is \"small\", expected a number")]
    [InlineData("rms_norm_eps", "-1", "'rms_norm_eps' is -1, expected a number above 0 and at most 1")]
    [InlineData("rms_norm_eps", "0", "'rms_norm_eps' is 0, expected a number above 0 and at most 1")]
    [InlineData("rms_norm_eps", "1e999", "'rms_norm_eps' is 1e999, expected a number")]
    [InlineData("num_attention_heads", "0", "'num_attention_heads' is 0, expected a positive integer")]
    [InlineData("rope_theta", "0", "'rope_theta' is 0, expected a number above 0")]
    [InlineData("rope_theta", "-10000", "'rope_theta' is -10000, expected a number above 0")]
    [InlineData("rope_theta", "1e-300", "the rotary frequencies of rope_theta 1E-300 and heads of")]
    [InlineData("rope_parameters", "{\"rope_theta\":0}", "rope_parameters: 'rope_theta' is 0, expected a number above 0")]
    [InlineData("rope_scaling", "{\"type\":\"linear\",\"factor\":0}", "rope_scaling: 'factor' is 0, expected a number above 0")]
    [InlineData("rope_theta", "[]", "'rope_theta' is [], expected a number")]
    [InlineData("rope_parameters", "7", "'rope_parameters' is 7, expected an object")]
    [InlineData("rope_parameters", "{\"rope_theta\":\"x\"}", "rope_parameters: 'rope_theta' is \"x\", expected a number")]
    [InlineData("rope_scaling", "{\"rope_type\":\"ntk\"}",
        "rotary scaling of type 'ntk' is not supported; supported: default, dynamic, linear, llama3, longrope, yarn")]
    [InlineData("rope_scaling", "{\"rope_type\":\"yarn\"}", "rope_scaling: 'factor' is missing")]
    [InlineData("rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":2,\"beta_fast\":1}", "'beta_fast' is 1, expected more than beta_slow, 1")]
    [InlineData("rope_scaling", "{\"type\":\"longrope\",\"original_max_position_embeddings\":8,\"short_factor\":[1,2],\"long_factor\":[1,1,1,1]}",
        "'short_factor' is [1,2], expected 4 numbers above 0, one for each pair")]
    [InlineData("rope_scaling", "{\"type\":3}", "rope_scaling: 'type' is 3, expected a string")]
    [InlineData("rope_scaling", "{\"type\":\"linear\"}", "rope_scaling: 'factor' is missing, expected a number")]
    [InlineData("rope_scaling", "{\"type\":\"linear\",\"factor\":null}", "rope_scaling: 'factor' is missing, expected a number")]
    [InlineData("rope_scaling", "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}",
        "'original_max_position_embeddings' is missing")]
    [InlineData("rope_scaling", "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,\"original_max_position_embeddings\":8}",
        "'high_freq_factor' is 4, expected more than low_freq_factor, 4")]
    [InlineData("rope_scaling", "{\"type\":\"default\",\"mrope_section\":[1]}",
        "rope_scaling: 'mrope_section' is [1], expected no such key: it would change the rotary frequencies")]
    [InlineData("rope_parameters", "{\"rope_theta\":5,\"partial_rotary_factor\":0.5}", "rope_parameters: 'partial_rotary_factor' is 0.5, expected 1 or none")]
    [InlineData("rope_parameters", "{\"sliding_attention\":{\"rope_theta\":5}}", "rope_parameters has nothing for 'full_attention', which layers use")]
    [InlineData("layer_types", "[\"linear_attention\"]", "layer_types names 'linear_attention', which is not supported")]
    [InlineData("layer_types", "[1]", "'layer_types' is [1], expected a list of strings")]
    [InlineData("dual_chunk_attention_config", "{\"chunk_size\":8,\"local_size\":8}", "'local_size' is 8, expected fewer than the 8 positions of a chunk")]
    [InlineData("dual_chunk_attention_config", "{\"chunk_size\":8,\"local_size\":1,\"sparse_attention_enabled\":true}",
        "'sparse_attention_enabled' is true, expected no such key")]
    [InlineData("partial_rotary_factor", "0.5", "'partial_rotary_factor' is 0.5, expected 1 or none: it changes what the model computes, which is not "
        + "supported")]
    [InlineData("logit_scale", "0.0625", "'logit_scale' is 0.0625, expected 1 or none")]
    [InlineData("embedding_multiplier", "0", "'embedding_multiplier' is 0, expected 1 or none")]
    [InlineData("final_logit_softcapping", "30", "'final_logit_softcapping' is 30, expected none")]
    [InlineData("is_causal", "false", "'is_causal' is false, expected true or none")]
    [InlineData("rope_interleaved", "true", "'rope_interleaved' is true, expected false or none")]
    [InlineData("hidden_activation", "\"gelu\"", "'hidden_activation' is \"gelu\", expected \"silu\" or none")]
    [InlineData("per_layer_config", "{\"0\":{\"head_dim\":8}}", "'per_layer_config' is {\"0\":{\"head_dim\":8}}, expected none")]
    public void ParseSaysWhatIsWrong(string key, string json, string complaint)
    {
        var message = Assert.Throws<NibbleException>(() => Parse((key, json))).Message;
        Assert.StartsWith("model/config.json: ", message, StringComparison.Ordinal);
        Assert.Contains(complaint, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("model_type", "\"mixtral\"", "model_type is 'mixtral'")]
    [InlineData("model_type", "\"qwen2_moe\"", "model_type is 'qwen2_moe'")]
    [InlineData("model_type", "\"qwen3_moe\"", "model_type is 'qwen3_moe'")]
    [InlineData("model_type", "\"olmoe\"", "model_type is 'olmoe'")]
    [InlineData("model_type", "\"deepseek_v3\"", "model_type is 'deepseek_v3'")]
    [InlineData("num_local_experts", "8", "num_local_experts is 8")]
    [InlineData("num_experts", "128", "num_experts is 128")]
    [InlineData("n_routed_experts", "64", "n_routed_experts is 64")]
    public void ParseRefusesMixturesOfExperts(string key, string json, string sign) => Assert.Equal(
        $"model/config.json: {sign}: mixture-of-experts models are not supported; dense models are supported, of the types "
            + string.Join(", ", DecoderConfig.SupportedTypes),
        Assert.Throws<NibbleException>(() => Parse((key, json))).Message);

    [Theory]
    [InlineData("0")]
    [InlineData("1")]
    [InlineData("null")]
    public void ParseTakesOneExpertForADenseModel(string experts) => Assert.Equal(
        Parse().ToString(), Parse(("num_local_experts", experts), ("num_experts", experts)).ToString());

    [Fact]
    public void ParseRefusesASlidingWindowThatIsNoLength() => Assert.Contains(
        "'sliding_window' is \"wide\"",
        Assert.Throws<NibbleException>(() => Parse(("model_type", "\"mistral\""), ("sliding_window", "\"wide\""))).Message,
        StringComparison.Ordinal);

    [Fact]
    public void ParseRefusesRotarySettingsThatDiffer()
    {
        (string, string)[] sliding = [("model_type", "\"mistral\""), ("layer_types", """["full_attention","sliding_attention","full_attention"]""")];
        string Message(params (string, string)[] further) => Assert.Throws<NibbleException>(() => Parse([.. sliding, .. further])).Message;
        Assert.Contains(
            "rope_parameters differs between 'full_attention' and 'sliding_attention'",
            Message(("rope_parameters", """{"full_attention":{"rope_theta":1e6},"sliding_attention":{"rope_theta":1e4}}""")),
            StringComparison.Ordinal);
        Assert.Contains("expected no sliding_attention, since there is no sliding_window", Message(("sliding_window", "null")), StringComparison.Ordinal);
        Assert.Contains(
            "'rope_scaling' is {\"type\":\"linear\",\"factor\":2}, expected the same as rope_parameters",
            Message(("rope_scaling", """{"type":"linear","factor":2}"""), ("rope_parameters", """{"rope_theta":2}""")),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("", "not valid JSON")]
    [InlineData("[]", "found Array, expected an object")]
    public void ParseRefusesWhatIsNoObject(string json, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => DecoderConfig.Parse(json, "config.json")).Message, StringComparison.Ordinal);

    private static IReadOnlyList<string> Unknown(params (string Key, string Json)[] changes) => ConfigKeys.Unknown(Changed(changes), "config.json");

    private static DecoderConfig Parse(params (string Key, string Json)[] changes) => DecoderConfig.Parse(Changed(changes), "model/config.json");

    private static string Changed((string Key, string Json)[] changes)
    {
        var root = JsonNode.Parse(Smallest)!;
        foreach (var (key, json) in changes)
        {
            root[key] = JsonNode.Parse(json);
        }

        return root.ToJsonString();
    }
}
