using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>Options of GPTQ.</summary>
public sealed record GptqOptions
{
    /// <summary>How the range of a group is chosen. Default: <see cref="WeightRange.MinMax"/>.</summary>
    public WeightRange Range { get; init; } = WeightRange.MinMax;

    /// <summary>Whether <see cref="WeightRange.Mse"/> and <see cref="WeightRange.Search"/> weight the squared error of each column by
    /// <see cref="HessianFactor.Importance"/>. Default: false.</summary>
    public bool WeighByImportance { get; init; }

    /// <summary>What the factor's order means for groups; <see cref="ActivationOrder.None"/> if and only if the factor has no order.</summary>
    public ActivationOrder Order { get; init; }

    /// <summary>The number of threads, at least 1. The result does not depend on it. Default: null, one per core.</summary>
    public int? Threads { get; init; }
}
