namespace Nibble.Planning;

/// <summary>One way to treat a layer, or layers that are treated the same.</summary>
/// <param name="Cost">The loss that it adds to the model, in nats per token; finite, and may be negative.</param>
/// <param name="Size">Its size, in bits or bytes; at least 0.</param>
internal readonly record struct Choice(double Cost, long Size);

/// <summary>The multiple-choice knapsack problem: one choice per item, with additive costs and sizes (Sinha and Zoltners 1979).</summary>
/// <param name="Items">The choices of each item, at least one.</param>
internal sealed record ChoiceProblem(IReadOnlyList<IReadOnlyList<Choice>> Items)
{
    /// <summary>The least size of any selection.</summary>
    public long LeastSize => Items.Sum(choices => choices.Min(choice => choice.Size));

    /// <summary>The least cost of any selection.</summary>
    public double LeastCost => Items.Sum(choices => choices.Min(choice => choice.Cost));

    /// <summary>The size of a selection, which holds the index of a choice for each item.</summary>
    public long SizeOf(IReadOnlyList<int> selection) => Items.Zip(selection, (choices, choice) => choices[choice].Size).Sum();

    /// <summary>The cost of a selection.</summary>
    public double CostOf(IReadOnlyList<int> selection) => Items.Zip(selection, (choices, choice) => choices[choice].Cost).Sum();
}
