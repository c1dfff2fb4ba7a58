using Nibble.Artifacts;

namespace Nibble.Formats;

/// <summary>Layers that vLLM fuses into one. It looks them up by the fused layer's name, and all parts must use the same quantization.</summary>
/// <remarks>Definition: vllm-project/vllm, <c>packed_modules_mapping</c> of the Llama family, and <c>layers/quantization/utils</c>.</remarks>
internal static class FusedLayers
{
    private static readonly (string Name, string[] Parts)[] All = [("qkv_proj", ["q_proj", "k_proj", "v_proj"]), ("gate_up_proj", ["gate_proj", "up_proj"])];

    /// <summary>Adds the fused layers whose parts are all in the list. The result is in ordinal order.</summary>
    /// <param name="modules">Module names.</param>
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

    /// <summary>A model's float layers that belong to a fused layer with a quantized part.</summary>
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
