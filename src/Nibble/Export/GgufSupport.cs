using Nibble.Formats.Gguf;
using Nibble.Formats.HuggingFace;
using Nibble.Models.Llama;

namespace Nibble.Export;

/// <summary>What llama.cpp has no place for, whatever the weights are: to be found out before work goes into them.</summary>
internal static class GgufSupport
{
    /// <summary>Refuses a model that no GGUF file could hold so that llama.cpp computes it.</summary>
    /// <param name="folder">The folder of a float checkpoint or an artifact.</param>
    /// <returns>What llama.cpp does otherwise with texts; a sentence each.</returns>
    /// <exception cref="NibbleException">The configuration or the tokenizer is of such a model.</exception>
    public static IReadOnlyList<string> Require(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var path = Path.Combine(folder, Checkpoint.ConfigName);
        var config = LlamaConfig.Parse(Checkpoint.ReadConfig(path), path);
        Require(folder, config);
        return GgufTokenizer.Read(folder, config.VocabularySize).Notes;
    }

    /// <summary>Refuses a configuration whose architecture in llama.cpp has fewer tensors; it would refuse the file or compute without them.</summary>
    internal static void Require(string folder, LlamaConfig config)
    {
        var architecture = GgufNames.Architecture(config);
        var cause = architecture == "llama" ? null
            : config.OutputBias ? "biases of attention's output (attention_bias)"
            : config.QueryKeyValueBias && architecture == "qwen3" ? "biases of queries, keys and values (attention_bias)"
            : config.FeedForwardBias ? "biases of the feed-forward part (mlp_bias)"
            : config.RotaryScaling is { OriginalContext: > 0 } ? "rotary scaling of type llama3"
            : null;
        if (cause is not null)
        {
            throw new NibbleException($"{folder}: a model of type {config.ModelType} with {cause} has no place in a GGUF file: llama.cpp's architecture "
                + $"{architecture} has none of them");
        }

        if (architecture == "qwen2" && config.Heads * config.HeadSize != config.HiddenSize)
        {
            throw new NibbleException(
                $"{folder}: {config.Heads} heads of {config.HeadSize} in a model of {config.HiddenSize} channels have no place in a GGUF file: "
                    + $"llama.cpp's architecture {architecture} has heads that together are as wide as the model");
        }
    }
}
