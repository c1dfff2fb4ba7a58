using Nibble.Formats.Safetensors;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Safetensors;

public class SafetensorsRealModelTests
{
    [Fact]
    public void Stories260KOpensWithItsReferenceValues()
    {
        using var file = SafetensorsFile.Open(SharedData.Require("stories260K/model.safetensors"));
        Assert.Equal(47, file.Tensors.Count);
        Assert.Equal(260_032, file.Tensors.Sum(tensor => tensor.Count));
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal([512L, 64L], file.Entry("model.embed_tokens.weight").Shape);
        Assert.Equal([2.4583089f, 1.3673227f, 1.7504382f, 1.1078318f], file.ReadFloats("model.norm.weight")[..4]);
    }
}
