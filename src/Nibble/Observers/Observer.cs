using Nibble.Recipes;

namespace Nibble.Observers;

/// <summary>Creates observers by the names that recipes use.</summary>
internal static class Observer
{
    /// <summary>Creates an observer with its default settings.</summary>
    /// <param name="kind">Which observer.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="kind"/> is not an observer.</exception>
    public static IObserver Create(ObserverKind kind) => kind switch
    {
        ObserverKind.MinMax => new MinMaxObserver(),
        ObserverKind.MovingAverage => new MovingAverageMinMaxObserver(),
        ObserverKind.Percentile => new PercentileObserver(),
        ObserverKind.Mse => new MseObserver(),
        ObserverKind.Entropy => new EntropyObserver(),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "There is no such observer."),
    };

    internal static InvalidOperationException NothingSeen(long nonFinite) =>
        new($"The observer has seen no finite value ({nonFinite} were not finite), so there is no range; run calibration data through the model first.");

    internal static ArgumentException CannotMerge(object observer, object other) =>
        new($"{observer} cannot be merged with {other}: both must be of the same kind and have the same settings.", nameof(other));
}
