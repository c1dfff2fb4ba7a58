using System.Collections.Immutable;
using Nibble.Models.Bert;
using Nibble.Models.Llama;

namespace Nibble.Models;

/// <summary>Models that are built alike: what their configurations mean.</summary>
/// <remarks>Whoever computes with a model, or writes it in another format, asks the family for more: <c>Nibble.Torch</c> for its modules, <c>Nibble.Onnx</c>
/// for its graph. A family of its own implements those interfaces too.</remarks>
public interface IModelFamily
{
    /// <summary>The <c>model_type</c>s.</summary>
    IReadOnlyList<string> ModelTypes { get; }

    /// <summary>Reads a configuration.</summary>
    /// <param name="configJson">The text of a <c>config.json</c> whose <c>model_type</c> is one of <see cref="ModelTypes"/>.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <param name="unknown">Receives the keys that nothing is known about; null where nobody asks.</param>
    /// <exception cref="NibbleException">It is no configuration of this family, or asks for what is not supported.</exception>
    ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown);
}

/// <summary>The families that there are.</summary>
public static class ModelFamilies
{
    private static ImmutableList<IModelFamily> all = [new LlamaFamily(), new BertFamily()];

    /// <summary>All families.</summary>
    public static IReadOnlyList<IModelFamily> All => all;

    /// <summary>Adds a family, which takes the place of others for its types.</summary>
    public static void Register(IModelFamily family)
    {
        ArgumentNullException.ThrowIfNull(family);
        ImmutableInterlocked.Update(ref all, list => list.Insert(0, family));
    }

    /// <summary>The family of a type; null where there is none.</summary>
    public static IModelFamily? Find(string modelType) => all.Find(family => family.ModelTypes.Contains(modelType));

    /// <summary>Reads a configuration by the family that it is of.</summary>
    /// <param name="configJson">The text of a <c>config.json</c>.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <param name="unknown">Receives the keys that nothing is known about; null where nobody asks.</param>
    /// <exception cref="NibbleException">It is of no family, or asks for what is not supported.</exception>
    public static ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown = null)
    {
        var type = ConfigReader.Parse(configJson, source, config => config.Text("model_type", string.Empty));

        // The family of decoders knows what to say of types that are supported nowhere.
        return (Find(type) ?? Find("llama")!).Parse(configJson, source, unknown);
    }
}
