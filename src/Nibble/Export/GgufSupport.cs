using Nibble.Formats.Gguf;
using Nibble.Formats.HuggingFace;
using Nibble.Models.Decoders;

namespace Nibble.Export;

/// <summary>Finds what llama.cpp does not support, whatever the weights are, before the work begins.</summary>
internal static class GgufSupport
{
    /// <summary>Rejects a model that llama.cpp could not run from any GGUF file.</summary>
    /// <param name="folder">The folder of a float checkpoint or an artifact.</param>
    /// <returns>How llama.cpp treats text differently, one sentence each.</returns>
    /// <exception cref="NibbleException">llama.cpp does not support the configuration or the tokenizer.</exception>
    public static IReadOnlyList<string> Require(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var path = Path.Combine(folder, Checkpoint.ConfigName);
        var config = DecoderConfig.Parse(Checkpoint.ReadConfig(path), path);
        Require(folder, config);
        return GgufTokenizer.Read(folder, config.VocabularySize).Notes;
    }

    /// <summary>Rejects a configuration whose llama.cpp architecture lacks tensors. llama.cpp would refuse the file or compute without them.</summary>
    internal static void Require(string folder, DecoderConfig config)
    {
        var architecture = GgufNames.Architecture(config);
        if (architecture.FaultOf(config) is { } fault)
        {
            throw new NibbleException($"{folder}: a model of type {config.ModelType} with {fault} cannot be stored in a GGUF file: llama.cpp's architecture "
                + $"{architecture.Name} does not support that");
        }
    }
}
