namespace Nibble.Planning;

/// <summary>Losses, in nats per token, that divide good from bad where the user names none.</summary>
internal static class Thresholds
{
    /// <summary>The loss up to which a variant is as good as float: 1 % of perplexity.</summary>
    public static readonly double SmallLoss = Math.Log(1.01);

    /// <summary>What training must win over PTQ, beyond what training alone gains, to be worth its time: 2 % of perplexity.</summary>
    public static readonly double WorthTraining = Math.Log(1.02);

    /// <summary>The loss from which a variant is not usable: 25 % of perplexity.</summary>
    public static readonly double UsableLoss = Math.Log(1.25);
}
