using Nibble.Cli.Engines;

namespace Nibble.Cli.Report.Documents;

/// <summary>What <c>bench --json</c> prints.</summary>
/// <remarks>What it is compared with, and how many times faster it is than that, are null where there is nothing to compare with.</remarks>
internal sealed record BenchDocument(
    string Schema, int Threads, int PromptTokens, int GeneratedTokens, int Repeats, BenchedFile File, BenchedFile? Against, BenchSpeedup? Speedup)
{
    public const string CurrentSchema = "nibble.bench/1";
}

/// <summary>A file as its engine ran it.</summary>
internal sealed record BenchedFile(
    string Name, string Path, string Engine, long Bytes, Spread LoadSeconds, Spread StartBytes, Spread PeakBytes, Spread PromptTokensPerSecond,
    Spread GeneratedTokensPerSecond);

/// <summary>How many times faster one file is than another, by pairs of runs one after the other.</summary>
internal sealed record BenchSpeedup(Spread Prompt, Spread Generation);

/// <summary>What <c>bench --json</c> prints of an encoder.</summary>
/// <remarks>
/// Tokens are those of each text. What it is compared with, and how many times faster it is than that, are null where there is nothing to compare with.
/// </remarks>
internal sealed record BenchEncoderDocument(
    string Schema, int Threads, int Tokens, int Batch, int Repeats, BenchedEncoder File, BenchedEncoder? Against, BenchEncoderSpeedup? Speedup)
{
    public const string CurrentSchema = "nibble.bench-encoder/1";
}

/// <summary>An encoder's file as its engine ran it.</summary>
internal sealed record BenchedEncoder(
    string Name, string Path, string Engine, long Bytes, Spread LoadSeconds, Spread StartBytes, Spread PeakBytes, BenchedTexts Single, BenchedTexts Batched);

/// <summary>What texts took that were computed at once: seconds until all are there, and texts in a second.</summary>
internal readonly record struct BenchedTexts(Spread Seconds, Spread TextsPerSecond);

/// <summary>How many times faster one file is than another, by pairs of runs one after the other: one text at a time, and batches.</summary>
internal sealed record BenchEncoderSpeedup(Spread Single, Spread Batched);
