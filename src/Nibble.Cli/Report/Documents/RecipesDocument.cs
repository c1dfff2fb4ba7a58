namespace Nibble.Cli.Report.Documents;

/// <summary>What <c>recipes --json</c> prints.</summary>
internal sealed record RecipesDocument(string Schema, IReadOnlyList<PresetEntry> Recipes)
{
    public const string CurrentSchema = "nibble.recipes/1";
}

/// <summary>A preset: the schemes of the layers that it quantizes, and when to use it.</summary>
internal sealed record PresetEntry(string Name, string Weights, string Activations, IReadOnlyList<string> Algorithms, bool NeedsData, string Use);
