using Nibble.Onnx;
using Nibble.Onnx.Decoders;
using Nibble.Onnx.Encoders;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Models.Llama;

namespace Nibble.Cli.Engines;

/// <summary>What an ONNX graph has to know of a model's configuration.</summary>
internal static class OnnxShapes
{
    /// <summary>The shape that a decoder's <c>config.json</c> gives it.</summary>
    /// <exception cref="NibbleException">The model is not of a supported type.</exception>
    public static DecoderShape OfDecoder(ModelTensors tensors) => Of(LlamaConfig.Parse(tensors.ConfigJson, tensors.ConfigPlace));

    /// <summary>The shape that an encoder's <c>config.json</c> gives it.</summary>
    /// <exception cref="NibbleException">The model is not of a supported type.</exception>
    public static EncoderShape OfEncoder(ModelTensors tensors) => Of(BertConfig.Parse(tensors.ConfigJson, tensors.ConfigPlace));

    /// <summary>The shape of an encoder's configuration.</summary>
    public static EncoderShape Of(BertConfig config) => new()
    {
        Family = config.IsRoberta ? EncoderFamily.Roberta : config.IsDistilBert ? EncoderFamily.DistilBert : EncoderFamily.Bert,
        VocabularySize = config.VocabularySize,
        HiddenSize = config.HiddenSize,
        IntermediateSize = config.IntermediateSize,
        Layers = config.Layers,
        Heads = config.Heads,
        MaxPositions = config.MaxPositions,
        FirstPosition = config.FirstPosition,
        TokenTypes = config.TokenTypes,
        Labels = config.Labels,
        NormEpsilon = config.NormEpsilon,
    };

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
