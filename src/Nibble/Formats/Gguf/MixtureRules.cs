using System.Globalization;
using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>Chooses the type of each matrix of a model for a mixture.</summary>
/// <remarks>
/// The rules follow ggml-org/llama.cpp, <c>src/llama-quant.cpp</c> (<c>llama_tensor_get_type_impl</c>, <c>tensor_type_fallback</c>), for dense decoders.
/// Heads, attention values and feed-forward down projections get more bits, especially in the first and last blocks. Only the mixture <c>mxfp4</c> is
/// specific to Nibble, because llama.cpp has it only for experts.
/// </remarks>
internal sealed class MixtureRules
{
    private const int BlocksOf70B = 80;
    private readonly GgufFile file;
    private readonly GgufMixture mixture;
    private readonly bool pure;
    private readonly bool hasImportance;
    private readonly bool tied;
    private readonly bool is70B;
    private readonly long queriesPerKey;
    private readonly int blocks;
    private readonly List<string> values;

    private MixtureRules(GgufFile file, GgufMixture mixture, bool pure, bool hasImportance)
    {
        (this.file, this.mixture, this.pure, this.hasImportance) = (file, mixture, pure, hasImportance);
        tied = file.FindTensor("output.weight") is null;
        var heads = Number("attention.head_count") ?? 0;
        var keyHeads = Number("attention.head_count_kv") ?? heads;
        queriesPerKey = keyHeads > 0 ? heads / keyHeads : 0;
        blocks = (int)Math.Clamp(Number("block_count") ?? 0, 0, int.MaxValue);
        is70B = blocks == BlocksOf70B && (Architecture == "qwen2" || (Architecture == "llama" && heads != keyHeads));
        values = [.. file.Tensors.Where(IsValues).Select(tensor => tensor.Name).OrderBy(Block)];
    }

    private string Architecture => file.Find("general.architecture")?.AsText() ?? string.Empty;

    /// <summary>
    /// The type of each tensor of a file, in file order, and the type that the mixture requests. They differ if the blocks of the requested type do not
    /// divide the tensor's rows.
    /// </summary>
    /// <param name="file">A dense decoder.</param>
    /// <param name="mixture">The mixture.</param>
    /// <param name="pure">Whether all matrices get the mixture's main type.</param>
    /// <param name="hasImportance">Whether an importance matrix is used.</param>
    public static IReadOnlyList<(GgufType Type, GgufType Wanted)> Apply(GgufFile file, GgufMixture mixture, bool pure, bool hasImportance)
    {
        var rules = new MixtureRules(file, mixture, pure, hasImportance);
        return [.. file.Tensors.Select(tensor =>
        {
            var wanted = rules.Wanted(tensor);
            return (IsQuantizable(tensor) ? ThatFits(tensor, wanted) : wanted, wanted);
        })];
    }

    /// <summary>Whether a tensor is a matrix that can be quantized.</summary>
    public static bool IsQuantizable(GgufEntry tensor) =>
        tensor.Dimensions.Skip(1).Any(size => size > 1) && tensor.Name.EndsWith("weight", StringComparison.Ordinal)
            && !tensor.Name.Contains("_norm.weight", StringComparison.Ordinal);

    private GgufType Wanted(GgufEntry tensor) =>
        !IsQuantizable(tensor) ? tensor.Type : pure || mixture.Main.BlockSize() == 1 ? mixture.Main : Mixed(tensor, mixture.Main);

    private GgufType Mixed(GgufEntry tensor, GgufType main)
    {
        if (tensor.Name == "output.weight" || (tied && tensor.Name == "token_embd.weight"))
        {
            return main is GgufType.Q8_0 or GgufType.MXFP4 || tensor.Columns % main.BlockSize() != 0 ? GgufType.Q8_0 : GgufType.Q6_K;
        }

        if (tensor.Name == "token_embd.weight")
        {
            return main switch { GgufType.TQ1_0 or GgufType.TQ2_0 => GgufType.Q4_K, GgufType.MXFP4 => GgufType.Q8_0, _ => main };
        }

        return IsValues(tensor) ? OfValues(tensor, main)
            : Is(tensor, "attn_output.weight") ? OfAttentionOutput(main)
            : Is(tensor, "ffn_down") ? OfDown(Block(tensor.Name), main)
            : main;
    }

    private GgufType OfValues(GgufEntry tensor, GgufType main)
    {
        var place = values.IndexOf(tensor.Name);
        var type = mixture.Name switch
        {
            "q2_k" => queriesPerKey >= 4 ? GgufType.Q4_K : GgufType.Q3_K,
            "q3_k_m" => place < 2 ? GgufType.Q5_K : GgufType.Q4_K,
            "q3_k_l" => GgufType.Q5_K,
            "q4_k_s" when place < 4 => GgufType.Q5_K,
            "q4_k_m" or "q5_k_m" when MattersMore(place, values.Count) => GgufType.Q6_K,
            _ => main,
        };

        // In these models eight heads share them, so they are small.
        return is70B && type is GgufType.Q3_K or GgufType.Q4_K ? GgufType.Q5_K : type;
    }

    private GgufType OfAttentionOutput(GgufType main) => mixture.Name switch
    {
        "q2_k" => GgufType.Q3_K,
        "q3_k_m" => GgufType.Q4_K,
        "q3_k_l" => GgufType.Q5_K,
        _ => main,
    };

    private GgufType OfDown(int block, GgufType main) => mixture.Name switch
    {
        "q2_k" => GgufType.Q3_K,
        "q3_k_m" => block < blocks / 16 ? GgufType.Q5_K : GgufType.Q4_K,
        "q3_k_l" => GgufType.Q5_K,
        "q4_k_s" when block < blocks / 8 => GgufType.Q5_K,
        "q4_k_m" or "q5_k_m" when MattersMore(block, blocks) => GgufType.Q6_K,

        // Without a minimum, a few large inputs in the first blocks would take all precision for their columns.
        "q4_0" when hasImportance && block < blocks / 8 => GgufType.Q4_1,
        "q5_0" when hasImportance && block < blocks / 8 => GgufType.Q5_1,
        _ => main,
    };

    /// <summary>Whether a block is in the first or last eighth, or is every third block between them.</summary>
    private static bool MattersMore(int place, int count) => place < count / 8 || place >= 7 * count / 8 || (place - (count / 8)) % 3 == 2;

    /// <summary>A type with at least as many bits whose blocks divide a matrix's rows.</summary>
    private static GgufType ThatFits(GgufEntry tensor, GgufType type)
    {
        if (tensor.Columns % type.BlockSize() == 0)
        {
            return type;
        }

        var other = type switch
        {
            GgufType.Q2_K or GgufType.Q3_K or GgufType.TQ1_0 or GgufType.TQ2_0 => GgufType.Q4_0,
            GgufType.Q4_K => GgufType.Q5_0,
            GgufType.Q5_K => GgufType.Q5_1,
            GgufType.Q6_K => GgufType.Q8_0,
            _ => GgufType.F16,
        };
        return tensor.Columns % other.BlockSize() == 0 ? other : GgufType.F16;
    }

    /// <summary>Whether a matrix yields the values of attention, alone or with queries and keys.</summary>
    private static bool IsValues(GgufEntry tensor) => Is(tensor, "attn_v.weight") || Is(tensor, "attn_qkv.weight");

    private static bool Is(GgufEntry tensor, string part) => tensor.Name.Contains(part, StringComparison.Ordinal);

    /// <summary>The number in <c>blk.N.</c>; -1 if there is none.</summary>
    private static int Block(string name) =>
        name.Split('.') is ["blk", var number, ..] && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var block) ? block : -1;

    private long? Number(string key) => file.Find($"{Architecture}.{key}") is { } value ? value.AsInteger() ?? value.AsIntegers()?.FirstOrDefault() : null;
}
