using System.Collections.Immutable;
using Nibble.Models.Bert;
using Nibble.Models.Decoders.Families;

namespace Nibble.Models;

/// <summary>Models with the same architecture, and how to read their configurations.</summary>
/// <remarks>Code that runs a model, or writes it in another format, needs more from the family: <c>Nibble.Torch</c> its modules, <c>Nibble.Onnx</c>
/// its graph. A custom family implements those interfaces too.</remarks>
public interface IModelFamily
{
    /// <summary>The <c>model_type</c>s.</summary>
    IReadOnlyList<string> ModelTypes { get; }

    /// <summary>Reads a configuration.</summary>
    /// <param name="configJson">The text of a <c>config.json</c> whose <c>model_type</c> is one of <see cref="ModelTypes"/>.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <param name="unknown">Receives the unknown keys; may be null.</param>
    /// <exception cref="NibbleException">It is not a configuration of this family, or requires an unsupported feature.</exception>
    ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown);
}

/// <summary>The registered families.</summary>
public static class ModelFamilies
{
    private static ImmutableList<IModelFamily> all = [.. DecoderFamily.All, new BertFamily()];

    /// <summary>All families.</summary>
    public static IReadOnlyList<IModelFamily> All => all;

    /// <summary>Adds a family. It takes precedence over others with the same types.</summary>
    public static void Register(IModelFamily family)
    {
        ArgumentNullException.ThrowIfNull(family);
        ImmutableInterlocked.Update(ref all, list => list.Insert(0, family));
    }

    /// <summary>The family of a type; null if there is none.</summary>
    public static IModelFamily? Find(string modelType) => all.Find(family => family.ModelTypes.Contains(modelType));

    /// <summary>Reads a configuration with its family.</summary>
    /// <param name="configJson">The text of a <c>config.json</c>.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <param name="unknown">Receives the unknown keys; may be null.</param>
    /// <exception cref="NibbleException">It belongs to no family, or requires an unsupported feature.</exception>
    public static ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown = null)
    {
        var type = ConfigReader.Parse(configJson, source, config => config.Text("model_type", string.Empty));

        // The family of decoders has the message for unsupported types.
        return (Find(type) ?? Find("llama")!).Parse(configJson, source, unknown);
    }
}
