using Nibble.Artifacts;

namespace Nibble.Formats;

/// <summary>Layers that vLLM makes one of: it asks for them by the name of the whole, and all parts must be quantized alike.</summary>
/// <remarks>Definition: vllm-project/vllm, <c>packed_modules_mapping</c> of the Llama family, and <c>layers/quantization/utils</c>.</remarks>
internal static class FusedLayers
{
    private static readonly (string Name, string[] Parts)[] All = [("qkv_proj", ["q_proj", "k_proj", "v_proj"]), ("gate_up_proj", ["gate_proj", "up_proj"])];

    /// <summary>Modules, and the wholes all of whose parts are among them, in ordinal order.</summary>
    /// <param name="modules">Names of modules.</param>
    public static IReadOnlyList<string> AddTo(IReadOnlyList<string> modules)
    {
        var known = modules.ToHashSet(StringComparer.Ordinal);
        var wholes = All.SelectMany(whole => modules
            .Where(module => module.EndsWith("." + whole.Parts[0], StringComparison.Ordinal))
            .Select(module => module[..^whole.Parts[0].Length])
            .Where(parent => Array.TrueForAll(whole.Parts, part => known.Contains(parent + part)))
            .Select(parent => parent + whole.Name));
        return [.. modules.Concat(wholes).Order(StringComparer.Ordinal)];
    }

    /// <summary>The float layers of a model that are a part of a whole some other part of which is quantized.</summary>
    /// <param name="model">A model.</param>
    public static IReadOnlyList<string> HalfQuantized(QuantizedModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var quantized = model.Layers.Select(layer => layer.Name).ToHashSet(StringComparer.Ordinal);
        return [.. WeightOnlyCheckpoint.FloatModules(model).Where(name =>
        {
            var parent = name[..(name.LastIndexOf('.') + 1)];
            return Array.Find(All, whole => whole.Parts.Contains(name[parent.Length..])) is { Parts: { } parts }
                && parts.Any(part => quantized.Contains(parent + part));
        })];
    }
}
