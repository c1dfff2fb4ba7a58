using System.Text.Json.Serialization;

namespace Nibble.Cli.Bench;

/// <summary>How a measuring process answers the one that started it.</summary>
[JsonSerializable(typeof(BenchSample))]
[JsonSerializable(typeof(EncoderBenchSample))]
internal sealed partial class BenchJson : JsonSerializerContext;
