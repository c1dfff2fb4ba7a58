namespace Nibble.Numerics;

/// <summary>Which values share a scale and zero point. The set is closed: <see cref="PerTensor"/>, <see cref="PerChannel"/>, <see cref="PerGroup"/>,
/// <see cref="PerToken"/>.</summary>
public abstract record Granularity
{
    private protected Granularity()
    {
    }

    /// <summary>One scale for the whole tensor.</summary>
    public static Granularity Tensor { get; } = new PerTensor();

    /// <summary>One scale per row of a weight matrix of shape [out, in], that is, per output channel.</summary>
    public static Granularity Channel { get; } = new PerChannel();

    /// <summary>One scale per row of an activation matrix of shape [tokens, in], computed while the model runs.</summary>
    public static Granularity Token { get; } = new PerToken();

    /// <summary>One scale per <paramref name="size"/> consecutive values of a row; the last group of a row may be shorter.</summary>
    /// <param name="size">Values in a group, at least 1.</param>
    public static Granularity Group(int size) => new PerGroup(size);

    /// <summary>The number of values along a row of <paramref name="columns"/> values that share a scale.</summary>
    internal abstract int GroupLength(int columns);
}

/// <summary>One scale for the whole tensor.</summary>
public sealed record PerTensor : Granularity
{
    internal override int GroupLength(int columns) => columns;

    /// <inheritdoc/>
    public override string ToString() => "tensor";
}

/// <summary>One scale per row of a weight matrix of shape [out, in].</summary>
public sealed record PerChannel : Granularity
{
    internal override int GroupLength(int columns) => columns;

    /// <inheritdoc/>
    public override string ToString() => "channel";
}

/// <summary>One scale per row of an activation matrix of shape [tokens, in], computed while the model runs.</summary>
public sealed record PerToken : Granularity
{
    internal override int GroupLength(int columns) => columns;

    /// <inheritdoc/>
    public override string ToString() => "token";
}

/// <summary>One scale per <see cref="Size"/> consecutive values of a row of a weight matrix of shape [out, in].</summary>
public sealed record PerGroup : Granularity
{
    /// <summary>Creates a granularity of groups of <paramref name="size"/> values.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is below 1.</exception>
    public PerGroup(int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        Size = size;
    }

    /// <summary>Values in a group. The last group of a row may be shorter.</summary>
    public int Size { get; }

    internal override int GroupLength(int columns) => Math.Min(Size, columns);

    /// <inheritdoc/>
    public override string ToString() => $"group {Size}";
}
