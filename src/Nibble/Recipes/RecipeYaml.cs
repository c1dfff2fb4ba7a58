using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Nibble.Recipes;

/// <summary>Writes readable recipes: block style down to the rules, with one line per property of a rule.</summary>
internal static partial class RecipeYaml
{
    /// <summary>A recipe as YAML, from which <see cref="RecipeFile.ParseYaml"/> reads an equal recipe.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="comments">Comment lines at the top. None may contain a line break.</param>
    public static string Write(Recipe recipe, params IReadOnlyList<string> comments)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(comments);
        using var document = JsonDocument.Parse(RecipeFile.ToJson(recipe));
        var text = new StringBuilder();
        foreach (var comment in comments)
        {
            text.Append("# ").Append(comment).Append('\n');
        }

        foreach (var property in document.RootElement.EnumerateObject())
        {
            text.Append(property.Name).Append(':');
            if (property.Value.ValueKind != JsonValueKind.Array || property.Value.GetArrayLength() == 0)
            {
                text.Append(' ').Append(Flow(property.Value)).Append('\n');
                continue;
            }

            text.Append('\n');
            foreach (var item in property.Value.EnumerateArray())
            {
                text.AppendJoin(string.Empty, item.EnumerateObject().Select((field, i) => $"  {(i == 0 ? '-' : ' ')} {field.Name}: {Flow(field.Value)}\n"));
            }
        }

        return text.ToString();
    }

    private static string Flow(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object =>
            value.EnumerateObject().Any() ? $"{{ {string.Join(", ", value.EnumerateObject().Select(field => $"{field.Name}: {Flow(field.Value)}"))} }}" : "{}",
        JsonValueKind.Array => $"[{string.Join(", ", value.EnumerateArray().Select(Flow))}]",
        JsonValueKind.String when Word.IsMatch(value.GetString()!) => value.GetString()!,
        _ => value.GetRawText(),
    };

    /// <summary>Matches text that YAML reads as itself without quotes, so no number and no word that YAML reads as another type.</summary>
    [GeneratedRegex(@"^(?!(true|false|null|yes|no|on|off|y|n)\z)[a-z][A-Za-z0-9]*\z",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Word { get; }
}
