using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Formats.Safetensors;
using Nibble.Tests.Samples;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>Blocks of 32 values with weights: no more weighted error than llama.cpp's.</summary>
public class WeightedBlocksTests
{
    public static TheoryData<GgufType> Types { get; } = [GgufType.Q4_0, GgufType.Q4_1, GgufType.Q5_0, GgufType.Q5_1];

    [Theory]
    [MemberData(nameof(Types))]
    public void WeightedErrorIsNoHigher(GgufType type)
    {
        using var file = SafetensorsFile.Open(StorytellerFolder.Find("model/model.safetensors"));
        var matrices = file.Tensors.Where(tensor => tensor.Shape.Count == 2)
            .Select(tensor => (tensor.Name, Values: file.ReadFloats(tensor.Name), Columns: (int)tensor.Shape[1]));
        var random = ((string[])["normal", "student", "laplace", "shifted", "sparse"]).Select(kind => (kind, RandomWeights.Of(kind, 64 * 96), 96));
        foreach (var (name, values, columns) in matrices.Concat(random))
        {
            var importance = Array.ConvertAll(RandomWeights.Of("normal", columns), value => MathF.Exp(75 * value));
            float[] weights = [.. Enumerable.Range(0, values.Length).Select(i => importance[i % columns])];
            var blocks = new byte[values.Length / 32 * type.BlockBytes()];
            ((IWeightedCodec)BlockCodecs.For(type)).Quantize(values, weights, blocks);
            var (ours, theirs) = (Error(Restore(type, blocks)), Error(Restore(type, GgmlQuantizer.Quantize(type, values, columns, importance))));
            Assert.True(ours <= theirs, $"{name}: weighted squared error {ours}, llama.cpp's {theirs}");

            double Error(float[] restored) => Enumerable.Range(0, values.Length).Sum(i => weights[i] * Math.Pow(values[i] - (double)restored[i], 2));
        }
    }

    private static float[] Restore(GgufType type, byte[] blocks)
    {
        var values = new float[blocks.Length / type.BlockBytes() * 32];
        BlockCodecs.For(type).Dequantize(blocks, values);
        return values;
    }
}
