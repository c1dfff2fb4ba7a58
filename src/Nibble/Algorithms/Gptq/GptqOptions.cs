using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>How GPTQ works.</summary>
public sealed record GptqOptions
{
    /// <summary>How the range of a group is chosen.</summary>
    public WeightRange Range { get; init; } = WeightRange.MinMax;

    /// <summary>Whether <see cref="WeightRange.Mse"/> and <see cref="WeightRange.Search"/> weight the squared error of each column by
    /// <see cref="HessianFactor.Importance"/>.</summary>
    public bool WeighByImportance { get; init; }

    /// <summary>What the factor's order means for groups; <see cref="ActivationOrder.None"/> exactly where the factor has no order.</summary>
    public ActivationOrder Order { get; init; }

    /// <summary>How many threads work, at least 1; null for one a core. The result does not depend on it.</summary>
    public int? Threads { get; init; }
}
