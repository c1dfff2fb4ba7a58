namespace Nibble.Planning;

/// <summary>A recipe that was measured.</summary>
/// <param name="Sum">What its layers cost, each alone, added up; nats per token, above 0.</param>
/// <param name="Loss">What the whole costs: the loss over float, nats per token.</param>
internal readonly record struct Observation(double Sum, double Loss);

/// <summary>A predicted loss over float and where the true one lies with a confidence of 90 %, nats per token.</summary>
/// <param name="Loss">The prediction.</param>
/// <param name="Low">The low end of the interval.</param>
/// <param name="High">The high end.</param>
internal readonly record struct LossPrediction(double Loss, double Low, double High)
{
    /// <summary>Whether a loss is inside the interval.</summary>
    public bool Contains(double loss) => loss >= Low && loss <= High;
}

/// <summary>Predicts what a recipe costs from what its layers cost alone.</summary>
/// <remarks>
/// Errors of layers amplify each other where they are large, and later layers make up for them where they are small, so their sum is not the loss. The model is
/// a
/// power of the sum, <c>loss = e^a sum^b</c>, fitted by least squares of the logarithms to recipes that were measured. The interval is conformal (Vovk et al.
/// 2005):
/// as wide as it must be for 90 % of those recipes to lie inside when each is predicted from all others.
/// </remarks>
internal sealed class LossModel
{
    /// <summary>Losses far below this, in nats, are noise, and do not matter.</summary>
    private const double Floor = 1e-3;

    private const double Confidence = 0.9;

    private readonly double intercept;
    private readonly double slope;

    private LossModel(double intercept, double slope)
    {
        this.intercept = intercept;
        this.slope = slope;
    }

    /// <summary>Half of the interval's width, as a share of the prediction and <see cref="Floor"/> together.</summary>
    public double Spread { get; private init; }

    /// <summary>Fits the model.</summary>
    /// <param name="observations">Measured recipes; those whose loss is lost in noise count for the interval alone.</param>
    public static LossModel Fit(IReadOnlyList<Observation> observations)
    {
        ArgumentNullException.ThrowIfNull(observations);
        var (intercept, slope) = Line(observations);
        var scores = Enumerable.Range(0, observations.Count).Select(i =>
        {
            var (a, b) = Line([.. observations.Where((_, other) => other != i)]);
            var predicted = Math.Exp(a + (b * Math.Log(observations[i].Sum)));
            return Math.Abs(observations[i].Loss - predicted) / (predicted + Floor);
        }).Order().ToList();
        return new LossModel(intercept,
            slope)
        { Spread = scores.Count == 0 ? 1 : scores[Math.Min(scores.Count, (int)Math.Ceiling(Confidence * (scores.Count + 1))) - 1] };
    }

    /// <summary>Predicts the loss of a recipe.</summary>
    /// <param name="sum">What its layers cost alone, added up.</param>
    public LossPrediction Predict(double sum)
    {
        var loss = sum <= 0 ? 0 : Math.Exp(intercept + (slope * Math.Log(sum)));
        var half = Spread * (loss + Floor);
        return new LossPrediction(loss, loss - half, loss + half);
    }

    /// <summary>The sum for which a loss is predicted.</summary>
    /// <param name="loss">Nats per token, above 0.</param>
    public double SumFor(double loss) => Math.Exp((Math.Log(loss) - intercept) / slope);

    /// <summary>The straight line through the logarithms; the sum itself where too little is known.</summary>
    private static (double Intercept, double Slope) Line(IReadOnlyList<Observation> observations)
    {
        var points = observations.Where(point => point.Sum > 0 && point.Loss > Floor).Select(point => (X: Math.Log(point.Sum), Y: Math.Log(point.Loss)))
            .ToList();
        if (points.Count == 0)
        {
            return (0, 1);
        }

        var (meanX, meanY) = (points.Average(point => point.X), points.Average(point => point.Y));
        var squares = points.Sum(point => (point.X - meanX) * (point.X - meanX));
        var slope = squares > 1e-9 ? points.Sum(point => (point.X - meanX) * (point.Y - meanY)) / squares : 1;
        slope = slope > 0 ? slope : 1;
        return (meanY - (slope * meanX), slope);
    }
}
