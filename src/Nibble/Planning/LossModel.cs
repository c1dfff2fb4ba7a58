namespace Nibble.Planning;

/// <summary>A measured recipe.</summary>
/// <param name="Sum">The sum of its layers' losses, each quantized on its own, in nats per token; above 0.</param>
/// <param name="Loss">The loss of the whole recipe over float, in nats per token.</param>
internal readonly record struct Observation(double Sum, double Loss);

/// <summary>A predicted loss over float and its 90 % interval, in nats per token.</summary>
/// <param name="Loss">The prediction.</param>
/// <param name="Low">The low end of the interval.</param>
/// <param name="High">The high end.</param>
internal readonly record struct LossPrediction(double Loss, double Low, double High)
{
    /// <summary>Whether a loss is in the interval.</summary>
    public bool Contains(double loss) => loss >= Low && loss <= High;
}

/// <summary>Predicts a recipe's loss from the losses of its layers, each quantized on its own.</summary>
/// <remarks>
/// Large errors of layers amplify each other, and later layers compensate for small ones, so the sum of the layers' losses is not the loss. The model is a
/// power of the sum, <c>loss = e^a sum^b</c>, fitted to measured recipes by least squares of the logarithms. The interval is conformal (Vovk et al.
/// 2005): wide enough that 90 % of those recipes are inside when each is predicted from all others.
/// </remarks>
internal sealed class LossModel
{
    /// <summary>Losses far below this, in nats, are noise and do not matter.</summary>
    private const double Floor = 1e-3;

    private const double Confidence = 0.9;

    private readonly double intercept;
    private readonly double slope;

    private LossModel(double intercept, double slope)
    {
        this.intercept = intercept;
        this.slope = slope;
    }

    /// <summary>Half of the interval's width, as a share of the sum of the prediction and <see cref="Floor"/>.</summary>
    public double Spread { get; private init; }

    /// <summary>Fits the model.</summary>
    /// <param name="observations">Measured recipes. Those whose loss is below the noise affect only the interval.</param>
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
    /// <param name="sum">The sum of its layers' losses.</param>
    public LossPrediction Predict(double sum)
    {
        var loss = sum <= 0 ? 0 : Math.Exp(intercept + (slope * Math.Log(sum)));
        var half = Spread * (loss + Floor);
        return new LossPrediction(loss, loss - half, loss + half);
    }

    /// <summary>The sum whose predicted loss is a given loss.</summary>
    /// <param name="loss">Nats per token, above 0.</param>
    public double SumFor(double loss) => Math.Exp((Math.Log(loss) - intercept) / slope);

    /// <summary>The straight line through the logarithms; the identity if there are too few points.</summary>
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
