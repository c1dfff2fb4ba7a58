using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A tokenizer made of any steps that <c>tokenizer.json</c> can hold.</summary>
/// <param name="normalizers">The steps that change text.</param>
/// <param name="rules">The steps that split it into words.</param>
/// <param name="words">What converts a word to ids.</param>
/// <param name="kind">The kind of the model, for messages.</param>
internal sealed class ComposedModel(
    IReadOnlyList<Func<string, string>> normalizers, IReadOnlyList<TextRule> rules, WordModel words, string kind) : TokenModel
{
    // Longer words are rarely repeated.
    private const int LongestKnown = 100;

    private readonly string?[] tokens = Tokens(words.Vocabulary);

    /// <summary>The kind of the model.</summary>
    public string Kind { get; } = kind;

    public override int Size => tokens.Length;

    public override int? UnknownId => words.UnknownId;

    public override int? IdOf(string text) => words.Vocabulary.TryGetValue(text, out var id) ? id : null;

    public override string? TokenOf(int id) => tokens[id];

    public override string Normalize(string text, bool first) => NormalizeToken(text);

    public override string NormalizeToken(string text) => normalizers.Aggregate(text, (text, normalizer) => normalizer(text));

    public override void Encode(string text, bool first, List<int> ids)
    {
        var known = new Dictionary<string, int[]>(StringComparer.Ordinal);
        foreach (var word in TextRules.Apply(rules, text, first))
        {
            if (word.Length <= LongestKnown && known.TryGetValue(word, out var same))
            {
                ids.AddRange(same);
                continue;
            }

            var before = ids.Count;
            words.Encode(word, ids);
            if (word.Length <= LongestKnown)
            {
                known.Add(word, [.. ids.Skip(before)]);
            }
        }
    }

    public override string Decode(IReadOnlyList<int> ids)
    {
        var text = new StringBuilder();
        foreach (var id in ids)
        {
            text.Append(tokens[id]);
        }

        return text.ToString();
    }

    private static string?[] Tokens(Dictionary<string, int> vocabulary)
    {
        var tokens = new string?[vocabulary.Values.DefaultIfEmpty(-1).Max() + 1];
        foreach (var (token, id) in vocabulary)
        {
            tokens[id] = token;
        }

        return tokens;
    }
}
