using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>The value of <c>general.file_type</c> for a file whose matrices mostly have one type.</summary>
/// <remarks>Definition: ggml-org/llama.cpp, <c>include/llama.h</c>, <c>llama_ftype</c>.</remarks>
internal static class GgufFileType
{
    /// <summary>The metadata key.</summary>
    public const string Key = "general.file_type";

    /// <summary>The number of a type. For a K-quant, the number of the mixture that has only this type.</summary>
    /// <param name="type">The type.</param>
    public static uint Of(GgufType type) => type switch
    {
        GgufType.F16 => 1,
        GgufType.Q4_0 => 2,
        GgufType.Q4_1 => 3,
        GgufType.Q8_0 => 7,
        GgufType.Q5_0 => 8,
        GgufType.Q5_1 => 9,
        GgufType.Q2_K => 10,
        GgufType.Q3_K => 11,
        GgufType.Q4_K => 14,
        GgufType.Q5_K => 16,
        GgufType.Q6_K => 18,
        GgufType.BF16 => 32,
        GgufType.TQ1_0 => 36,
        GgufType.TQ2_0 => 37,
        GgufType.MXFP4 => 38,
        _ => 0,
    };
}
