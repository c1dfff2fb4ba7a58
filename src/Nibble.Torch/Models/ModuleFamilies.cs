using Nibble.Models;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Models.Llama;

namespace Nibble.Torch.Models;

/// <summary>The families whose modules are known.</summary>
internal static class ModuleFamilies
{
    private static readonly IModuleFamily[] BuiltIn = [new LlamaModules(), new BertModules()];

    /// <summary>The family of a definition: one that is built in, or one that was registered and makes modules too.</summary>
    /// <exception cref="NibbleException">There is none.</exception>
    public static IModuleFamily Of(ModelDefinition definition) =>
        ModelFamilies.Find(definition.ModelType) is IModuleFamily own && own.Builds(definition) ? own
        : Array.Find(BuiltIn, family => family.Builds(definition))
            ?? throw new NibbleException($"models of type {definition.ModelType} have a configuration that is known, but no modules to compute with");
}
