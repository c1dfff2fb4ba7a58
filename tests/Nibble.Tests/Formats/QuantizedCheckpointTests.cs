using Nibble.Tests.Files;
using Nibble.Formats;

namespace Nibble.Tests.Formats;

public sealed class QuantizedCheckpointTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("""{"quantization_config":{"quant_method":"fp8"}}""", "the weights are quantized already, by fp8; expected a float checkpoint")]
    [InlineData("""{"compression_config":{"format":"pack-quantized","config_groups":{}}}""", "quantized already, by compressed-tensors")]
    [InlineData("""{"quantization":{"group_size":64,"bits":4}}""", "quantized already, by mlx")]
    [InlineData("""{"quantization_config":null}""", null)]
    [InlineData("""{"quantization_config":{}}""", null)]
    public void RequireFloatRefusesWeightsThatAreQuantized(string config, string? complaint)
    {
        folder.Write("config.json", config);
        if (complaint is null)
        {
            QuantizedCheckpoint.RequireFloat(folder.Path);
        }
        else
        {
            Assert.Contains(complaint, Assert.Throws<NibbleException>(() => QuantizedCheckpoint.RequireFloat(folder.Path)).Message, StringComparison.Ordinal);
        }
    }
}
