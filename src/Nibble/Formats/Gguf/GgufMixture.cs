using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>A choice of types for the matrices of a GGUF file. Most matrices get one type, and more important ones get types with more bits.</summary>
/// <param name="Name">The name in llama.cpp's <c>llama-quantize</c>, in lower case: <c>q4_k_m</c>.</param>
/// <param name="Main">The type of most matrices.</param>
/// <param name="FileType">The value of <c>general.file_type</c>.</param>
/// <remarks>Definition: ggml-org/llama.cpp, <c>include/llama.h</c>, <c>llama_ftype</c>.</remarks>
public sealed record GgufMixture(string Name, GgufType Main, uint FileType)
{
    /// <summary>All mixtures, largest first.</summary>
    public static IReadOnlyList<GgufMixture> All { get; } =
    [
        Plain(GgufType.BF16), Plain(GgufType.F16),
        Plain(GgufType.Q8_0),
        Plain(GgufType.Q6_K),
        new("q5_k_m", GgufType.Q5_K, 17), new("q5_k_s", GgufType.Q5_K, 16), Plain(GgufType.Q5_1), Plain(GgufType.Q5_0),
        new("q4_k_m", GgufType.Q4_K, 15), new("q4_k_s", GgufType.Q4_K, 14), Plain(GgufType.Q4_1), Plain(GgufType.Q4_0), Plain(GgufType.MXFP4),
        new("q3_k_l", GgufType.Q3_K, 13), new("q3_k_m", GgufType.Q3_K, 12), new("q3_k_s", GgufType.Q3_K, 11),
        Plain(GgufType.Q2_K), Plain(GgufType.TQ2_0), Plain(GgufType.TQ1_0),
    ];

    /// <summary>Finds a mixture by name, ignoring case; null if there is none.</summary>
    public static GgufMixture? Find(string name) => All.FirstOrDefault(mixture => mixture.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>The mixture named after a type.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No mixture is named after the type.</exception>
    public static GgufMixture Of(GgufType type) =>
        Find(type.ToString()) ?? throw new ArgumentOutOfRangeException(nameof(type), type, "No mixture is named after this type.");

    private static GgufMixture Plain(GgufType type) => new(type.ToString().ToLowerInvariant(), type, GgufFileType.Of(type));
}
