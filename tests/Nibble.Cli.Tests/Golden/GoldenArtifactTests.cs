using System.Runtime.Intrinsics.X86;
using System.Security.Cryptography;
using Nibble.Cli.Tests.Commands;
using Nibble.Torch.Tests.Models.Bert;

namespace Nibble.Cli.Tests.Golden;

/// <summary>Artifacts of tiny models have the bytes that they had before: <c>golden.txt</c> holds their hashes.</summary>
/// <remarks>
/// A change of bytes is a decision, which the changelog tells. After one, run these tests with <c>NIBBLE_WRITE_GOLDEN</c> set to the path of
/// <c>golden.txt</c>, and look at the difference. Sums of floats depend on the instructions that they are computed with, so the hashes hold for
/// processors with AVX2 and without AVX-512.
/// </remarks>
[Collection(OneAtATime.Name)]
public sealed class GoldenArtifactTests
{
    private const string Update = "NIBBLE_WRITE_GOLDEN";

    private static readonly Dictionary<string, string> Known = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Golden", "golden.txt"))
        .Select(line => line.Split('\t'))
        .ToDictionary(parts => parts[0], parts => parts[1], StringComparer.Ordinal);

    public static TheoryData<string> DecoderPtq =>
    [
        "w8a16-g8", "w4a16-g8-mse", "w2a16-stretched", "wta16-g8", "w4a16-po2", "w8a8", "w8a8-static", "w4a16-g8-gptq", "w3a16-g8-gptaq", "w4a16-g8-awq",
        "w8a8-smoothquant", "w4a16-g8-hqq", "w4a16-g8-importance", "w2a16-g8-signround", "w3a16-adaround-debias", "w4a8-g8-rotated-gptq", "w4a16-kv4c",
        "w4a4-static-percentile-smoothquant-gptaq",
    ];

    public static TheoryData<string> DecoderQat =>
        ["w8a8", "w4a4-static", "w2a16-g8", "wta16", "w4a16-g8-gptq", "hybrid-weights-ptq-activations-qat", "hybrid-attention-qat"];

    public static TheoryData<string> EncoderPtq =>
    [
        "w8a16", "w8a16-g8", "w4a16-g8", "w4a16-g8-sym", "w4a16-mse", "w2a16-stretched", "w3a16", "wta16", "w4a16-po2", "w8a8", "w4a8-g8", "w4a4",
        "w8a8-static",
        "w4a4-static-mse",
    ];

    [Theory]
    [MemberData(nameof(DecoderPtq))]
    public async Task PtqOfADecoder(string recipe)
    {
        using var folder = new TinyFolder(layers: 2);
        await Check(folder.At("out"), $"ptq decoder {recipe}", "ptq", folder.Model, "--recipe", recipe, "--data", folder.TrainingText, "--windows", "4",
            "--length", "32");
    }

    [Theory]
    [MemberData(nameof(DecoderQat))]
    public async Task QatOfADecoder(string recipe)
    {
        using var folder = new TinyFolder(layers: 2);
        await Check(folder.At("out"), $"qat decoder {recipe}", "qat", folder.Model, "--recipe", recipe, "--data", folder.TrainingText, "--steps", "3");
    }

    [Theory]
    [MemberData(nameof(EncoderPtq))]
    public async Task PtqOfAnEncoder(string recipe)
    {
        using var folder = new TinyFolder();
        var texts = folder.Write("texts.tsv", "good film\t2\nbad films w12 w13\t0\nw20 good w21 w22 w23\t1\nfilm bad\t0\nw9 w30 w31\t1\n");
        var model = new TinyBert().Write(folder.At("bert"));
        await Check(folder.At("out"), $"ptq encoder {recipe}", "ptq", model, "--recipe", recipe, "--data", texts);
    }

    private static async Task Check(string output, string name, params string[] command)
    {
        Assert.SkipUnless(Avx2.IsSupported && !Avx512F.IsSupported, "the hashes are those of a processor with AVX2 and without AVX-512");
        await CommandRun.Succeeds([.. command, "-o", output, "--seed", "5", "--threads", "1"]);
        var hash = Hash(output);
        if (Environment.GetEnvironmentVariable(Update) is { } path)
        {
            var lines = File.ReadAllLines(path).Where(line => !line.StartsWith(name + '\t', StringComparison.Ordinal)).Append($"{name}\t{hash}");
            File.WriteAllLines(path, lines.Order(StringComparer.Ordinal));
            return;
        }

        Assert.True(Known.TryGetValue(name, out var known), $"{name}: no hash is known; run with {Update} set");
        Assert.True(hash == known, $"{name}: the artifact has other bytes than before");
    }

    /// <summary>A hash over all files of a folder, by name.</summary>
    private static string Hash(string folder)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var path in Directory.EnumerateFiles(folder).Order(StringComparer.Ordinal))
        {
            hash.AppendData(System.Text.Encoding.UTF8.GetBytes(Path.GetFileName(path)));
            hash.AppendData(SHA256.HashData(File.ReadAllBytes(path)));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
