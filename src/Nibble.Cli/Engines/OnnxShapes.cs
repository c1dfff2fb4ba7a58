using Nibble.Formats.HuggingFace;
using Nibble.Onnx;
using Nibble.Onnx.Decoders;
using Nibble.Torch.Models.Llama;

namespace Nibble.Cli.Engines;

/// <summary>What an ONNX graph has to know of a model's configuration.</summary>
internal static class OnnxShapes
{
    /// <summary>The shape that a model's <c>config.json</c> gives it.</summary>
    /// <exception cref="NibbleException">The model is not of a supported type.</exception>
    public static DecoderShape Of(ModelTensors tensors) => Of(LlamaConfig.Parse(tensors.ConfigJson, Path.Combine(tensors.Folder, Checkpoint.ConfigName)));

    /// <summary>The shape of a configuration.</summary>
    public static DecoderShape Of(LlamaConfig config) => new()
    {
        VocabularySize = config.VocabularySize,
        HiddenSize = config.HiddenSize,
        IntermediateSize = config.IntermediateSize,
        Layers = config.Layers,
        Heads = config.Heads,
        KeyValueHeads = config.KeyValueHeads,
        HeadSize = config.HeadSize,
        NormEpsilon = config.NormEpsilon,
        RotaryFrequencies = config.RotaryFrequencies(),
        TiedHead = config.TiedHead,
        QueryKeyValueBias = config.QueryKeyValueBias,
        OutputBias = config.OutputBias,
        FeedForwardBias = config.FeedForwardBias,
        QueryKeyNorm = config.QueryKeyNorm,
        SlidingWindow = config.SlidingWindow,
        MaxSequence = config.MaxPositions,
    };
}
