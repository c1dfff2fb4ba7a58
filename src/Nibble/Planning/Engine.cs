using System.Globalization;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>The engine that runs the quantized model.</summary>
internal enum Engine
{
    /// <summary>Nibble's own simulation, which runs every recipe.</summary>
    Nibble,

    /// <summary>llama.cpp, with GGUF's blocks of 32 weights.</summary>
    LlamaCpp,

    /// <summary>vLLM, with compressed-tensors.</summary>
    Vllm,

    /// <summary>ONNX Runtime, with MatMulNBits or INT8 operators.</summary>
    OnnxRuntime,
}

/// <summary>The schemes that engines can hold without changing a code.</summary>
internal static class TargetEngines
{
    /// <summary>The engines by name.</summary>
    public static IReadOnlyDictionary<string, Engine> ByName { get; } = new Dictionary<string, Engine>
    {
        ["nibble"] = Engine.Nibble,
        ["llama.cpp"] = Engine.LlamaCpp,
        ["vllm"] = Engine.Vllm,
        ["onnxruntime"] = Engine.OnnxRuntime,
    };

    /// <summary>Why an engine cannot run the result of a recipe; null if it can.</summary>
    /// <param name="engine">The engine.</param>
    /// <param name="recipe">The recipe.</param>
    /// <param name="layers">The model's linear layers: the name and columns of each.</param>
    public static string? Refusal(Engine engine, Recipe recipe, IEnumerable<KeyValuePair<string, int>> layers)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(layers);
        if (engine == Engine.Nibble)
        {
            return null;
        }

        return recipe.Rotation != Rotation.None ? "it does not rotate the layers' inputs"
            : recipe.KeyValueCache is not null ? "it cannot load a quantized key-value cache from a file"
            : layers.Select(layer => recipe.RuleFor(layer.Key) is { } rule ? Refusal(engine, rule, layer.Key, layer.Value) : null)
                .FirstOrDefault(reason => reason is not null);
    }

    private static string? Refusal(Engine engine, RecipeRule rule, string layer, int columns)
    {
        var weights = rule.Weights!;
        if (weights.Format != CodeFormat.Integer || weights.ScalePrecision == ScalePrecision.PowerOfTwo)
        {
            return $"it does not support {weights} weights";
        }

        var group = (weights.Granularity as PerGroup)?.Size;
        var eightBit = weights.Bits == 8 && rule.Activations is { Scheme.Bits: 8 } && group is null;
        return engine switch
        {
            Engine.LlamaCpp when rule.Activations is not null => "it cannot load quantized activations from a file",
            Engine.LlamaCpp when group != 32 || !(weights.Bits is 4 or 5 || (weights.Bits == 8 && weights.Symmetric)) =>
                "its exact blocks hold 4 or 5 bits, or symmetric 8 bits, in groups of 32",
            Engine.Vllm when eightBit => null,
            Engine.Vllm when weights.Bits is not (4 or 8) || rule.Activations is not null =>
                "it runs 4-bit and 8-bit weights, and 8-bit activations only with 8-bit weights per channel",
            Engine.Vllm when group is { } size && columns % size != 0 =>
                string.Create(CultureInfo.InvariantCulture, $"groups of {size} do not divide the {columns} columns of {layer}"),
            Engine.OnnxRuntime when eightBit => null,
            Engine.OnnxRuntime when weights.Bits is not (2 or 4 or 8) || rule.Activations is not null || group is not (16 or 32 or 64 or 128 or 256) =>
                "its MatMulNBits holds 2-bit, 4-bit and 8-bit weights in groups that are a power of two, and 8-bit activations only with 8-bit weights per "
                    + "channel",
            _ => null,
        };
    }
}
