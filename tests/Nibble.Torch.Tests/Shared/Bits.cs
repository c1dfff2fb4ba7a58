using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Shared;

/// <summary>Compares floats bit for bit.</summary>
internal static class Bits
{
    public static float[] Of(Tensor values)
    {
        using var scope = NewDisposeScope();
        return values.detach().to(float32).contiguous().data<float>().ToArray();
    }

    public static void Equal(IEnumerable<float> expected, Tensor actual) => Equal(expected, Of(actual));

    public static void Equal(IEnumerable<float> expected, float[] actual) =>
        Assert.Equal(expected.Select(BitConverter.SingleToInt32Bits), actual.Select(BitConverter.SingleToInt32Bits));
}
