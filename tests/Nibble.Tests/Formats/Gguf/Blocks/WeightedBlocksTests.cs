using Nibble.Formats.Gguf;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Formats.Safetensors;
using Nibble.Tests.Samples;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>Blocks of 32 values with weights: no more weighted error than llama.cpp's, and as the specification has them.</summary>
public class WeightedBlocksTests
{
    public static TheoryData<GgufType> Types { get; } = [GgufType.Q4_0, GgufType.Q4_1, GgufType.Q5_0, GgufType.Q5_1];

    [Theory]
    [MemberData(nameof(Types))]
    public void WeightedErrorIsNoHigher(GgufType type)
    {
        using var file = SafetensorsFile.Open(StorytellerFolder.Find("model/model.safetensors"));
        var matrices = file.Tensors.Where(tensor => tensor.Shape.Count == 2).Select(tensor => (tensor.Name, Values: file.ReadFloats(tensor.Name), Columns: (int)tensor.Shape[1]));
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

    /// <summary>Every number of blocks, whole groups of eight and rests.</summary>
    [Theory]
    [MemberData(nameof(Types))]
    public void VectorsFindWhatTheSpecificationFinds(GgufType type)
    {
        for (var count = 1; count <= 18; count++)
        {
            var values = RandomWeights.Of(count % 2 == 0 ? "student" : "shifted", 32 * count);
            values.AsSpan(0, count % 3 == 0 ? 40 : 0).Clear();
            var weights = Array.ConvertAll(RandomWeights.Of("laplace", 32 * count), value => MathF.Exp(20 * value));
            var blocks = new byte[count * type.BlockBytes()];
            ((IWeightedCodec)BlockCodecs.For(type)).Quantize(values, weights, blocks);
            Assert.Equal(Enumerable.Range(0, count).SelectMany(i => Expected(type, values[(32 * i)..(32 * (i + 1))], weights[(32 * i)..(32 * (i + 1))])), Restore(type, blocks));
        }
    }

    private static float[] Expected(GgufType type, float[] x, float[] w)
    {
        var bits = type is GgufType.Q4_0 or GgufType.Q4_1 ? 4 : 5;
        var tries = bits == 4 ? new ScaleTries(-2, 0.2f, 16) : new ScaleTries(-4, 0.4f, 13);
        var (last, zero) = ((1 << bits) - 1, 1 << (bits - 1));
        if (type is GgufType.Q4_0 or GgufType.Q5_0)
        {
            var scale = (float)(Half)SuperBlockSpecification.SymmetricSub(x, w, zero, tries);
            return Array.ConvertAll(x, value => scale * Code(value, scale, -zero, zero - 1));
        }

        var fit = SuperBlockSpecification.AffineSub(x, w, last, tries, belowZero: false);
        var (step, minimum) = ((float)(Half)fit.Scale, (float)(Half)fit.Minimum);
        return Array.ConvertAll(x, value => (step * Code(value - minimum, step, 0, last)) + minimum);
    }

    private static float Code(float value, float scale, int first, int last) => Math.Clamp(MathF.Round(value * (scale == 0 ? 0 : 1 / scale)), first, last);

    private static float[] Restore(GgufType type, byte[] blocks)
    {
        var values = new float[blocks.Length / type.BlockBytes() * 32];
        BlockCodecs.For(type).Dequantize(blocks, values);
        return values;
    }
}
