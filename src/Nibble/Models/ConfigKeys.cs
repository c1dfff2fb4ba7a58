using System.Text.Json;

namespace Nibble.Models;

/// <summary>Checks the keys of a <c>config.json</c> that the configuration of its family does not read.</summary>
/// <remarks>
/// Keys that do not change what a trained model computes are accepted. Keys that do are rejected unless they have the neutral value. All other keys
/// are reported, because their meaning is unknown. Keys: huggingface/transformers, <c>configuration_utils.py</c> and the configuration of each family.
/// </remarks>
internal static class ConfigKeys
{
    /// <summary>Names, training, storage, classes of a head that has its own tensors, generation, and keys of other tools.</summary>
    private static readonly HashSet<string> Harmless = new(StringComparer.Ordinal)
    {
        // Origin and storage.
        "architectures", "transformers_version", "torch_dtype", "dtype", "name_or_path", "model_name", "tokenizer_class", "prefix", "finetuning_task",
        "task_specific_params", "license", "language",
        "attn_implementation", "experts_implementation", "use_cache", "output_attentions", "output_hidden_states", "output_past", "output_scores",
        "return_dict", "use_return_dict", "return_dict_in_generate",
        "torchscript", "use_bfloat16", "tf_legacy_loss", "tie_encoder_decoder", "cross_attention_hidden_size", "chunk_size_feed_forward",
        "pretraining_tp", "gradient_checkpointing", "remove_invalid_values",
        "keys_to_ignore_at_inference", "transformers.js_config", "model_max_length", "tokenizer_model_max_length", "max_sequence_length", "seq_length",
        "original_max_position_embeddings",
        "unsloth_fixed", "unsloth_version", "quantization_config", "compression_config", "quantization", "nibble_imported_name", "is_llama_config",
        "use_flash_attn",

        // Training.
        "initializer_range", "initializer_factor", "attention_dropout", "hidden_dropout", "embd_pdrop", "resid_pdrop", "attn_pdrop", "qa_dropout",
        "output_router_logits", "router_aux_loss_coef",
        "router_jitter_noise", "num_experts_per_tok", "tie_word_embeddings", "multiple_of", "ffn_dim_multiplier", "sinusoidal_pos_embds", "tie_weights_",

        // Tokens.
        "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id",
        "bos_token", "eos_token",

        // Heads and the names of classes, and poolers that no family here has.
        "id2label", "label2id", "num_labels", "problem_type", "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
        "pooler_size_per_head", "pooler_type",
        "normalize_embeddings", "embedding_size", "summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",

        // The sliding window limits the sequence length of the whole model, whichever layers have it.
        "max_window_layers", "sliding_window", "sliding_window_pattern",

        // Generation.
        "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p",
        "typical_p", "repetition_penalty", "length_penalty",
        "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id",
        "exponential_decay_length_penalty",
        "suppress_tokens", "begin_suppress_tokens", "max_new_tokens", "min_new_tokens", "max_time", "use_past",
    };

    /// <summary>Keys that change the arithmetic, and the value with which they do not; null if only an absent key is neutral.</summary>
    private static readonly Dictionary<string, object?> Neutral = new(StringComparer.Ordinal)
    {
        // Rotary embedding.
        ["partial_rotary_factor"] = 1.0,
        ["rotary_pct"] = 1.0,
        ["rotary_percent"] = 1.0,
        ["rope_ratio"] = 1.0,
        ["rotary_dim"] = null,
        ["rope_local_base_freq"] = null,
        ["local_rope_theta"] = null,
        ["global_rope_theta"] = null,
        ["rope_interleave"] = false,
        ["rope_interleaved"] = false,
        ["no_rope_layers"] = null,
        ["no_rope_layer_interval"] = null,
        ["nope_layer_interval"] = null,
        ["alibi"] = false,

        // Attention.
        ["attention_chunk_size"] = null,
        ["attn_temperature_tuning"] = false,
        ["use_qk_norm"] = false,
        ["qk_layernorm"] = false,
        ["qk_norm"] = false,
        ["query_pre_attn_scalar"] = null,
        ["attention_multiplier"] = null,
        ["attn_logit_softcapping"] = null,
        ["attention_sink_size"] = null,
        ["clip_qkv"] = null,
        ["is_causal"] = true,
        ["use_bidirectional_attention"] = false,
        ["add_cross_attention"] = false,
        ["is_encoder_decoder"] = false,
        ["pruned_heads"] = null,

        // Scales and caps of embeddings, residuals and logits.
        ["embedding_multiplier"] = 1.0,
        ["residual_multiplier"] = 1.0,
        ["logits_scaling"] = 1.0,
        ["logit_scale"] = 1.0,
        ["scale_emb"] = 1.0,
        ["scale_depth"] = null,
        ["dim_model_base"] = null,
        ["final_logit_softcapping"] = null,
        ["logits_soft_cap"] = null,

        // Layers with a different structure.
        ["hidden_activation"] = "silu",
        ["activation_function"] = "silu",
        ["use_parallel_residual"] = false,
        ["parallel_attn"] = false,
        ["use_bias"] = false,
        ["qkv_bias"] = false,
        ["bias"] = false,
        ["lm_head_bias"] = false,
        ["block_configs"] = null,
        ["per_layer_config"] = null,
    };

    /// <summary>The unknown keys of a configuration, which are ignored.</summary>
    /// <param name="configJson">The text of a <c>config.json</c>.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The configuration is not of a supported model, or a key requires an unsupported feature.</exception>
    public static IReadOnlyList<string> Unknown(string configJson, string source)
    {
        var unknown = new List<string>();
        ModelFamilies.Parse(configJson, source, unknown);
        return unknown;
    }

    /// <summary>Rejects unread keys that change the arithmetic.</summary>
    /// <param name="config">The configuration, from which all supported keys have been read.</param>
    /// <param name="unknown">Receives the unknown keys; may be null.</param>
    /// <exception cref="NibbleException">There is such a key.</exception>
    internal static void RequireKnown(ConfigReader config, ICollection<string>? unknown)
    {
        foreach (var (name, value) in config.Unread)
        {
            if (Neutral.TryGetValue(name, out var neutral))
            {
                if (!(neutral is true ? value.ValueKind == JsonValueKind.True : IsEmpty(value) || IsNeutral(value, neutral ?? 0.0)))
                {
                    throw config.Wrong(name, value, $"{(neutral is null ? "none" : $"{Written(neutral)} or none")}: it changes what the model computes, "
                        + "which is not supported");
                }
            }
            else if (!Harmless.Contains(name) && !name.StartsWith('_') && !IsEmpty(value) && !IsNeutral(value, 0.0))
            {
                unknown?.Add(name);
            }
        }
    }

    /// <summary>Rejects all keys of an object that have not been read.</summary>
    internal static void RequireOnly(ConfigReader config, string expected)
    {
        if (config.Unread.FirstOrDefault(property => !IsEmpty(property.Value)) is { Name: { } name, Value: var value })
        {
            throw config.Wrong(name, value, $"no such key: {expected}");
        }
    }

    private static bool IsEmpty(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.False or JsonValueKind.Null => true,
        JsonValueKind.String => value.GetString()!.Length == 0,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        _ => false,
    };

    private static bool IsNeutral(JsonElement value, object? neutral) => neutral switch
    {
        double number => value.ValueKind == JsonValueKind.Number && value.GetDouble() == number,
        bool flag => value.ValueKind == (flag ? JsonValueKind.True : JsonValueKind.False),
        string text => value.ValueKind == JsonValueKind.String && value.GetString() == text,
        _ => false,
    };

    private static string Written(object neutral) => neutral switch
    {
        true => "true",
        false => "false",
        string text => $"\"{text}\"",
        var number => $"{number}",
    };
}
