using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>What <see cref="StepChoice"/> computes, in plain numbers: its specification.</summary>
internal static class StepSpecification
{
    private const float LeastFine = 64 * 5.9604645e-08f;

    public static float Find(float[] sizes, float[] weights, float peak, int first, int last)
    {
        if (peak == 0)
        {
            return 0;
        }

        var largest = first < 0 ? first : last;
        var step = (float)(Half)(peak / largest);
        var total = Total(sizes.Length, i => weights[i] * sizes[i], i => sizes[i]);
        if (MathF.Abs(step) >= LeastFine && Error(step) <= 0.7f / (largest * largest) * total)
        {
            return step;
        }

        var defaults = peak / largest;
        var (best, least) = (0f, float.PositiveInfinity);
        Try(defaults);
        foreach (var size in sizes)
        {
            var number = MathF.Floor(MathF.Abs(size) * SuperBlockSpecification.Reciprocal(MathF.Abs(defaults)));
            for (var more = 0; more <= 4 && size != 0; more++)
            {
                Try(size / Math.Clamp(number + more, 1, last));
                if (first < 0)
                {
                    Try(size / Math.Clamp(-number - more, first, -1));
                }
            }

            Try(size / last);
        }

        return best;

        float Error(float step)
        {
            float Rest(int i) => MathF.FusedMultiplyAdd(
                -step, SuperBlockSpecification.Code(sizes[i], SuperBlockSpecification.Reciprocal(step), first, last), sizes[i]);
            return Total(sizes.Length, i => Rest(i) * weights[i], Rest);
        }

        void Try(float candidate)
        {
            var half = (Half)candidate;
            var next = MathF.Abs(candidate) < LeastFine ? half + Half.CopySign(Half.Epsilon, (Half)MathF.Sign(candidate)) : half;
            foreach (var stored in (float[])[(float)half, (float)next])
            {
                if (stored != 0 && Error(stored) < least)
                {
                    (best, least) = (stored, Error(stored));
                }
            }
        }
    }

    public static float Other(float step, int last, int lower) => (float)(Half)(step * last / Math.Max(1, last - lower));

    public static float Stretch(float step, float stretch) => MathF.Abs(step) < LeastFine ? step : (float)(Half)(step * stretch);

    /// <summary>The sum of products, each lane by fused steps.</summary>
    private static float Total(int count, Func<int, float> left, Func<int, float> right)
    {
        var lanes = new float[8];
        for (var i = 0; i < count; i++)
        {
            lanes[i % 8] = MathF.FusedMultiplyAdd(left(i), right(i), lanes[i % 8]);
        }

        return SuperBlockSpecification.Sum(lanes);
    }
}
