namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>Weights as models have them, or might.</summary>
internal static class RandomWeights
{
    /// <summary>Draws weights of deviation 0.02 or so, the same every time.</summary>
    public static float[] Of(string kind, int count)
    {
        var random = new Random(7);
        return [.. Enumerable.Range(0, count).Select(i => 0.02f * (float)(kind switch
        {
            "normal" => Normal(),
            "student" => Normal() / Math.Sqrt((Math.Pow(Normal(), 2) + Math.Pow(Normal(), 2) + Math.Pow(Normal(), 2)) / 3),
            "laplace" => Math.Log(1 - random.NextDouble()) * (random.Next(2) == 0 ? 1 : -1),
            "shifted" => Normal() + (3 * Math.Sin(i / 300)),
            _ => random.Next(4) == 0 ? Normal() : 0,
        }))];

        double Normal() => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
    }
}
