using Nibble.Recipes;

namespace Nibble.Algorithms.Gptq;

/// <summary>In which order the columns of a weight are quantized, and which columns then share a group.</summary>
public enum ActivationOrder
{
    /// <summary>From the first to the last.</summary>
    None,

    /// <summary>By falling diagonal of the Hessian; a group holds columns that follow each other in that order, and the result has a group index.</summary>
    Group,

    /// <summary>By falling diagonal of the Hessian; groups hold neighbouring columns, with scales found from the weights as they were at first.</summary>
    Weight,
}

/// <summary>How GPTQ works.</summary>
public sealed record GptqOptions
{
    /// <summary>How the range of a group is chosen.</summary>
    public WeightRange Range { get; init; } = WeightRange.MinMax;

    /// <summary>Whether <see cref="WeightRange.Mse"/> weights the squared error of each column by <see cref="HessianFactor.Importance"/>.</summary>
    public bool WeighByImportance { get; init; }

    /// <summary>What the factor's order means for groups; <see cref="ActivationOrder.None"/> exactly where the factor has no order.</summary>
    public ActivationOrder Order { get; init; }

    /// <summary>How many threads work, at least 1; null for one a core. The result does not depend on it.</summary>
    public int? Threads { get; init; }
}
