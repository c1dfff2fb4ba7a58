using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Bert;

namespace Nibble.Cli.Commands;

/// <summary>What there is to inspect of a decoder or a classifier.</summary>
/// <param name="Name">What the model is called.</param>
/// <param name="Type">Its <c>model_type</c>.</param>
/// <param name="Parameters">How many numbers it consists of.</param>
/// <param name="Bytes">Bytes of its tensors on disk.</param>
/// <param name="Linears">Its linear layers.</param>
/// <param name="StoredAs">The types of the tensors that are float on disk.</param>
/// <param name="Quantized">What its artifact holds; null for a float checkpoint.</param>
/// <param name="Model">What to dispose of in the end.</param>
internal sealed record InspectedModel(
    string Name,
    string Type,
    long Parameters,
    long Bytes,
    IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears,
    IReadOnlyDictionary<string, ElementType> StoredAs,
    QuantizedModel? Quantized,
    IDisposable Model) : IDisposable
{
    /// <summary>Opens a folder.</summary>
    /// <exception cref="NibbleException">It holds no model that can be loaded.</exception>
    public static InspectedModel Open(string folder)
    {
        if (!LoadedClassifier.IsEncoderFolder(folder))
        {
            var decoder = LoadedModel.Open(folder);
            return new InspectedModel(decoder.Name, decoder.Model.Config.ModelType, decoder.Model.ParameterCount, decoder.Bytes, decoder.Model.Linears, decoder.StoredAs, decoder.Quantized, decoder);
        }

        var classifier = LoadedClassifier.Open(folder);
        using var checkpoint = Checkpoint.Open(folder);
        var storedAs = checkpoint.TensorNames.ToDictionary(name => name, name => checkpoint.Entry(name).ElementType);
        return new InspectedModel(classifier.Name, classifier.Model.Config.ModelType, classifier.Model.ParameterCount, checkpoint.TensorBytes, classifier.Model.Linears, storedAs, classifier.Quantized, classifier);
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
