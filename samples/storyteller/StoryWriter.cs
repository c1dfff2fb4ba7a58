using System.Text;
using System.Text.RegularExpressions;

namespace Nibble.Samples.Storyteller;

/// <summary>
/// Writes small stories for small children. A seed decides everything: the same seed gives the same stories on every machine,
/// because <see cref="Random"/> with a seed is one fixed algorithm.
/// </summary>
internal sealed partial class StoryWriter(int seed)
{
    /// <summary>Stands on a line of its own between two stories.</summary>
    public const string Separator = "<|endoftext|>";

    private readonly Random random = new(seed);

    /// <summary>Writes the next story: one paragraph without a line break.</summary>
    public string Write()
    {
        var words = Cast();
        var story = new StringBuilder();
        foreach (var line in Pick(StoryShapes.All).Split('\n'))
        {
            if (line[0] == '$')
            {
                Define(line, words);
                continue;
            }

            var slot = line;
            if (slot[0] == '?')
            {
                if (random.Next(2) == 0)
                {
                    continue;
                }

                slot = slot[1..].Trim();
            }

            if (slot[0] == '@')
            {
                slot = StoryShapes.Shared[slot];
            }

            var sentence = Fill(Pick(slot.Split('|')).Trim(), words);
            story.Append(story.Length == 0 ? "" : " ").Append(Capital(sentence));
        }

        var text = BeforeVowel().Replace(story.ToString(), "$1n ");
        text = NameOnce(text, words["N"], words["kid"]);
        return NameOnce(text, words["F"], words["fkid"]);
    }

    /// <summary>Writes <paramref name="count"/> stories with <see cref="Separator"/> on a line after each.</summary>
    public string WriteMany(int count)
    {
        var text = new StringBuilder();
        for (var i = 0; i < count; i++)
        {
            text.Append(Write()).Append('\n').Append(Separator).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>
    /// Keeps a character's name where it first stands and in speech, and says "the girl" or "the boy" elsewhere: hero and friend are of
    /// different gender, so that stays clear, and a very small model need not carry one of forty names through the story.
    /// </summary>
    private static string NameOnce(string text, string name, string kid)
    {
        var first = true;
        return Regex.Replace(text, $@"\b{name}\b", match =>
        {
            var before = text.AsSpan(0, match.Index);
            if (first || before.Count('"') % 2 == 1)
            {
                first = false;
                return name;
            }

            var previous = before.TrimEnd();
            var tag = previous[^1] == '"' && SpeechVerb().IsMatch(text.AsSpan(match.Index + match.Length));
            return (tag || !".!?\"".Contains(previous[^1], StringComparison.Ordinal) ? "the " : "The ") + kid;
        });
    }

    private static string Capital(string text)
    {
        var first = text[0] == '"' ? 1 : 0;
        return string.Concat(text.AsSpan(0, first), char.ToUpperInvariant(text[first]).ToString(), text.AsSpan(first + 1));
    }

    private T Pick<T>(IReadOnlyList<T> items) => items[random.Next(items.Count)];

    private Dictionary<string, string> Cast()
    {
        var hero = Pick(StoryWords.People);
        // The friend is of the other gender, so that a pronoun never leaves open who is meant.
        var friend = Pick(Array.FindAll(StoryWords.People, person => person.IsGirl != hero.IsGirl));
        var relative = Pick(StoryWords.Relatives);
        var thing = Pick(StoryWords.Things);
        var animal = Pick(StoryWords.Animals);
        var place = Pick(StoryWords.Places);
        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["N"] = hero.Name,
            ["he"] = hero.IsGirl ? "she" : "he",
            ["him"] = hero.IsGirl ? "her" : "him",
            ["his"] = hero.IsGirl ? "her" : "his",
            ["himself"] = hero.IsGirl ? "herself" : "himself",
            ["kid"] = hero.IsGirl ? "girl" : "boy",
            ["F"] = friend.Name,
            ["fhe"] = friend.IsGirl ? "she" : "he",
            ["fhim"] = friend.IsGirl ? "her" : "him",
            ["fhis"] = friend.IsGirl ? "her" : "his",
            ["fkid"] = friend.IsGirl ? "girl" : "boy",
            ["mom"] = relative.Name,
            ["obj"] = thing.Name,
            ["oadj"] = Pick(thing.Adjectives),
            ["ouse"] = thing.Use,
            ["animal"] = animal.Name,
            ["ahome"] = animal.Home,
            ["afood"] = animal.Food,
            ["amoved"] = animal.Moved,
            ["place"] = place.Name,
            ["in"] = place.Preposition,
            ["did"] = place.Did,
            ["food"] = Pick(StoryWords.Foods),
        };
    }

    /// <summary>Reads <c>$a / b = x / y | v / w</c>: one row is drawn, and its cells become the words a and b of this story.</summary>
    private void Define(string line, Dictionary<string, string> words)
    {
        var sides = line[1..].Split(" = ");
        var names = sides[0].Split(" / ");
        var cells = Pick(sides[1].Split(" | ")).Split(" / ");
        if (cells.Length != names.Length)
        {
            throw new InvalidOperationException($"'{line}': a row has {cells.Length} cells for {names.Length} words.");
        }

        for (var i = 0; i < names.Length; i++)
        {
            words[names[i]] = Fill(cells[i], words);
        }
    }

    /// <summary>Replaces <c>[x/y]</c> by one of its choices, then <c>{word}</c> by the story's word (<c>{Word}</c> with a capital).</summary>
    private string Fill(string template, Dictionary<string, string> words)
    {
        var chosen = Choice().Replace(template, match => Pick(match.Groups[1].Value.Split('/')));
        return Word().Replace(chosen, match =>
        {
            var word = match.Groups[1].Value;
            return words.TryGetValue(word, out var exact) ? exact : Capital(words[word.ToLowerInvariant()]);
        });
    }

    [GeneratedRegex(@"\[([^\]]*)\]")]
    private static partial Regex Choice();

    [GeneratedRegex(@"^ (said|asked|cried|called|told)\b")]
    private static partial Regex SpeechVerb();

    [GeneratedRegex(@"\{(\w+)\}")]
    private static partial Regex Word();

    [GeneratedRegex(@"\b([Aa]) (?=[aeiouAEIOU])")]
    private static partial Regex BeforeVowel();
}
