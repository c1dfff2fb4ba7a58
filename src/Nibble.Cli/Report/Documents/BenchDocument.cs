using Nibble.Cli.Engines;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>bench --json</c> for a decoder.</summary>
/// <remarks>The file to compare with and the speedup are null without a comparison.</remarks>
internal sealed record BenchDocument(
    string Schema, int Threads, int PromptTokens, int GeneratedTokens, int Repeats, BenchedFile File, BenchedFile? Against, BenchSpeedup? Speedup)
{
    public const string CurrentSchema = "nibble.bench/1";
}

/// <summary>The measurements of a decoder's file in its engine.</summary>
internal sealed record BenchedFile(
    string Name, string Path, string Engine, long Bytes, Spread LoadSeconds, Spread StartBytes, Spread PeakBytes, Spread PromptTokensPerSecond,
    Spread GeneratedTokensPerSecond);

/// <summary>The speedup of one file over another, from pairs of consecutive runs.</summary>
internal sealed record BenchSpeedup(Spread Prompt, Spread Generation);

/// <summary>The document of <c>bench --json</c> for an encoder.</summary>
/// <remarks>
/// Tokens are per text. The file to compare with and the speedup are null without a comparison.
/// </remarks>
internal sealed record BenchEncoderDocument(
    string Schema, int Threads, int Tokens, int Batch, int Repeats, BenchedEncoder File, BenchedEncoder? Against, BenchEncoderSpeedup? Speedup)
{
    public const string CurrentSchema = "nibble.bench-encoder/1";
}

/// <summary>The measurements of an encoder's file in its engine.</summary>
internal sealed record BenchedEncoder(
    string Name, string Path, string Engine, long Bytes, Spread LoadSeconds, Spread StartBytes, Spread PeakBytes, BenchedTexts Single, BenchedTexts Batched);

/// <summary>The times of a batch of texts: seconds until all are computed, and texts per second.</summary>
internal readonly record struct BenchedTexts(Spread Seconds, Spread TextsPerSecond);

/// <summary>The speedup of one file over another, from pairs of consecutive runs: one text at a time, and in batches.</summary>
internal sealed record BenchEncoderSpeedup(Spread Single, Spread Batched);
