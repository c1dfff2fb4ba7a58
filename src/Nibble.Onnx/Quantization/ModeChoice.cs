namespace Nibble.Onnx.Quantization;

/// <summary>Chooses among the modes that were tried.</summary>
internal static class ModeChoice
{
    /// <summary>Files whose speeds are within this share of each other are equally fast: single runs differ as much.</summary>
    private const double SameSpeed = 0.95;

    /// <summary>
    /// The fastest mode whose loss is within a limit; among those that are as fast, the smallest file. It is not slower than float: rather than that, a mode
    /// that quantizes nothing is chosen.
    /// </summary>
    /// <param name="trials">The modes, at least one.</param>
    /// <param name="limit">The largest acceptable loss. If all exceed it, the mode with the least loss is chosen.</param>
    public static ModeTrial Best(IReadOnlyList<ModeTrial> trials, double limit)
    {
        var within = trials.Where(trial => trial.Loss <= limit).ToList();
        if (within.Count == 0)
        {
            return trials.MinBy(trial => trial.Loss)!;
        }

        var wishes = (Func<ModeTrial, bool>[])[trial => !trial.IsIdle && trial.Ratio >= SameSpeed, trial => trial.Ratio >= SameSpeed, _ => true];
        var candidates = wishes.Select(wish => within.Where(wish).ToList()).First(found => found.Count > 0);
        var fastest = candidates.Max(trial => trial.Ratio);
        return candidates.Where(trial => trial.Ratio >= fastest * SameSpeed).MinBy(trial => trial.Bytes)!;
    }
}
