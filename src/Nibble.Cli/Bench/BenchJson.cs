using System.Text.Json.Serialization;

namespace Nibble.Cli.Bench;

/// <summary>JSON that a measuring process returns to the process that started it.</summary>
[JsonSerializable(typeof(BenchSample))]
[JsonSerializable(typeof(EncoderBenchSample))]
internal sealed partial class BenchJson : JsonSerializerContext;
