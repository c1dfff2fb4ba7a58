using Nibble.Models;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Models.Decoders;

namespace Nibble.Torch.Models;

/// <summary>The supported model families and their modules.</summary>
internal static class ModuleFamilies
{
    private static readonly IModuleFamily[] BuiltIn = [new DecoderModules(), new BertModules()];

    /// <summary>The family of a definition: a built-in one, or a registered one that creates modules too.</summary>
    /// <exception cref="NibbleException">There is no such family.</exception>
    public static IModuleFamily Of(ModelDefinition definition) =>
        ModelFamilies.Find(definition.ModelType) is IModuleFamily own && own.Builds(definition) ? own
        : Array.Find(BuiltIn, family => family.Builds(definition))
            ?? throw new NibbleException($"models of type {definition.ModelType} have a known configuration, but no modules are registered to run them");
}
