using Nibble.Tests.Numerics.Kernels;
using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Formats.Safetensors;
using Nibble.Tests.Samples;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>Block for block against llama.cpp's quantizer.</summary>
public class GgmlQuantizerTests
{
    private const int Columns = 256;

    public static TheoryData<GgufType> EqualTypes { get; } =
        [GgufType.F32, GgufType.F16, GgufType.BF16, GgufType.Q4_0, GgufType.Q4_1, GgufType.Q5_0, GgufType.Q5_1, GgufType.Q8_0, GgufType.TQ1_0, GgufType.TQ2_0,
        GgufType.MXFP4];

    [Theory]
    [MemberData(nameof(EqualTypes))]
    public void RandomValuesBecomeTheSameBytes(GgufType type)
    {
        LlamaCpp.RequireBase();
        var (scale, special) = (Gen.Float[-20, 20], Gen.Int[-64, 64].Select(step => step / 8f));
        var block = Gen.Select(scale, Gen.Frequency((6, Gen.Float[-1, 1]), (1, special), (1, Gen.Const(0f)))
            .Array[Columns]).Select((exponent, values) => Array.ConvertAll(values, value => value * MathF.Pow(2, exponent)));
        block.Sample(values => Equal(type, values, Columns), iter: 1000);
    }

    [Theory]
    [MemberData(nameof(EqualTypes))]
    public void ExtremeValuesBecomeTheSameBytes(GgufType type)
    {
        LlamaCpp.RequireBase();
        Gens.Any.Where(value => float.IsFinite(value) && MathF.Abs(value) < 1e30f).Array[Columns].Sample(values => Equal(type, values, Columns), iter: 500);
    }

    [Theory]
    [MemberData(nameof(EqualTypes))]
    public void AModelsWeightsBecomeTheSameBytes(GgufType type)
    {
        using var file = SafetensorsFile.Open(StorytellerFolder.Find("model/model.safetensors"));
        foreach (var tensor in file.Tensors.Where(tensor => tensor.Shape.Count == 2))
        {
            Equal(type, file.ReadFloats(tensor.Name), (int)tensor.Shape[1]);
        }
    }

    private static void Equal(GgufType type, float[] values, int columns)
    {
        var expected = GgmlQuantizer.Quantize(type, values, columns);
        var blocks = new byte[expected.Length];
        BlockCodecs.For(type).Quantize(values, blocks);
        Assert.Equal(expected, blocks);
    }
}
