using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace Nibble.Recipes;

/// <summary>A mapping of a YAML document that is read key by key and reports the position of every fault.</summary>
internal sealed class YamlMap
{
    private const int MaxCharacters = 1 << 20;
    private const int MaxDepth = 16;

    private readonly string source;
    private readonly YamlMappingNode node;
    private readonly Dictionary<string, YamlNode> values = new(StringComparer.Ordinal);

    private YamlMap(string source, YamlMappingNode node, string[] keys)
    {
        this.source = source;
        this.node = node;
        (string Name, YamlNode Value)? last = null;
        foreach (var (key, value) in node.Children)
        {
            var name = (key as YamlScalarNode)?.Value ?? key.ToString();
            if (!keys.Contains(name, StringComparer.Ordinal))
            {
                throw Fault(key, SplitNumber(last, name, value)
                    ?? $"unknown key '{name}'.{Suggestion.For(name, keys)} The keys here are {string.Join(", ", keys)}");
            }

            last = (name, value);

            values.Add(name, value);
        }
    }

    /// <summary>Reads text that must be one mapping.</summary>
    /// <param name="text">YAML or JSON.</param>
    /// <param name="source">The file's path or another name, for messages.</param>
    /// <param name="keys">The keys that the mapping may have.</param>
    public static YamlMap Parse(string text, string source, params string[] keys)
    {
        if (text.Length > MaxCharacters)
        {
            throw new NibbleException($"{source} has {text.Length} characters; a recipe has at most {MaxCharacters}.");
        }

        try
        {
            RequireTame(text, source);
            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            return stream.Documents switch
            {
                [{ RootNode: YamlMappingNode root }] => new YamlMap(source, root, keys),
                [var other] => throw Fault(source, other.RootNode.Start, $"expected a mapping with the keys {string.Join(", ", keys)}"),
                _ => throw new NibbleException($"{source}: expected one YAML document, found {stream.Documents.Count}."),
            };
        }
        catch (YamlException exception)
        {
            throw new NibbleException($"{source}, {Place(exception.Start)}: not valid YAML: {exception.Message}", exception);
        }
        catch (Exception exception) when (exception is ArgumentException or InvalidOperationException)
        {
            // YamlDotNet throws these in some places where a value is missing, such as in "- :".
            throw new NibbleException($"{source}: not valid YAML: {exception.Message}", exception);
        }
    }

    /// <summary>Whether the mapping has a key.</summary>
    public bool Has(string key) => values.ContainsKey(key);

    /// <summary>A fault at a key's value, or at the mapping if it has no such key.</summary>
    public NibbleException Fault(string key, string message) => Fault(values.GetValueOrDefault(key, node), message);

    /// <summary>The text at a key; null if the key is absent.</summary>
    public string? Text(string key) => values.TryGetValue(key, out var node)
        ? node is YamlScalarNode { Value: { Length: > 0 } text } ? text : throw Fault(node, $"{key} must be text that is not empty")
        : null;

    /// <summary>The truth value at a key.</summary>
    public bool Flag(string key, bool absent) => Plain(key, "true or false") switch
    {
        null => absent,
        "true" => true,
        "false" => false,
        var other => throw Fault(key, $"{key} must be true or false, found '{other}'"),
    };

    /// <summary>The integer at a key.</summary>
    public int Integer(string key, int absent, int min, int max = int.MaxValue)
    {
        var range = max == int.MaxValue ? $"an integer of at least {min}" : $"an integer from {min} to {max}";
        return Plain(key, range) is not { } text ? absent
            : NumberText.TryParse(text, out long value) && value >= min && value <= max ? (int)value
            : throw Fault(key, $"{key} must be {range}, found '{text}'{NumberText.WholeHint(text)}");
    }

    /// <summary>The number at a key, which must fit into 32 bits.</summary>
    public double Number(string key, double absent, double min, double max = float.MaxValue)
    {
        var least = min == double.Epsilon ? "above 0" : string.Create(CultureInfo.InvariantCulture, $"of at least {min}");
        var range = max == float.MaxValue ? $"a number {least}" : string.Create(CultureInfo.InvariantCulture, $"a number {least} and at most {max}");
        return Plain(key, range) is not { } text ? absent
            : !NumberText.TryParse(text, out double value) ? throw Fault(key, $"{key} must be {range}, found '{text}'{NumberText.DecimalHint(text)}")
            : value > float.MaxValue ? throw Fault(key, $"{key} must be {range}, found '{text}', which is too large for 32 bits")
            : value >= min && value <= max ? value
            : throw Fault(key, $"{key} must be {range}, found '{text}'");
    }

    /// <summary>The value for the word at a key.</summary>
    public T Choice<T>(string key, T absent, IReadOnlyDictionary<string, T> choices)
    {
        if (Plain(key, string.Join(", ", choices.Keys), quoted: true) is not { } text)
        {
            return absent;
        }

        return choices.TryGetValue(text, out var value)
            ? value
            : throw Fault(key, $"{key} must be one of {string.Join(", ", choices.Keys)}, found '{text}'.{Suggestion.For(text, choices.Keys)}");
    }

    /// <summary>The mapping at a key; null if the key is absent.</summary>
    public YamlMap? Map(string key, params string[] keys) => values.TryGetValue(key, out var node) ? Map(node, key, keys) : null;

    /// <summary>The mapping at a key; null if the key is absent or holds the given word.</summary>
    public YamlMap? MapUnless(string key, string word, params string[] keys) => !values.TryGetValue(key, out var node) ? null
        : node is not YamlScalarNode scalar ? Map(node, $"{key} (or the word {word})", keys)
        : scalar.Value == word ? null
        : throw Fault(node, $"{key} must be {word} or a mapping with the keys {string.Join(", ", keys)}, found '{scalar.Value}'");

    /// <summary>The mappings of the list at a key; null if the key is absent.</summary>
    public IReadOnlyList<YamlMap>? Maps(string key, params string[] keys) => !values.TryGetValue(key, out var node) ? null
        : node is YamlSequenceNode list ? [.. list.Children.Select(item => Map(item, $"each of {key}", keys))]
        : throw Fault(node, $"{key} must be a list");

    /// <summary>The strings of the list at a key; null if the key is absent.</summary>
    public IReadOnlyList<string>? Texts(string key) => !values.TryGetValue(key, out var node) ? null
        : node is YamlSequenceNode list && list.Children.All(item => item is YamlScalarNode { Value: not null })
            ? [.. list.Children.Select(item => ((YamlScalarNode)item).Value!)]
            : throw Fault(node, $"{key} must be a list of words");

    private YamlMap Map(YamlNode node, string what, string[] keys) => node is YamlMappingNode map
        ? new YamlMap(source, map, keys)
        : throw Fault(node, $"{what} must be a mapping with the keys {string.Join(", ", keys)}");

    private string? Plain(string key, string expected, bool quoted = false) => values.TryGetValue(key, out var node)
        ? node is not YamlScalarNode { Value: { } text } scalar ? throw Fault(node, $"{key} must be {expected}")
            : quoted || scalar.Style == ScalarStyle.Plain ? text
            : throw Fault(node, $"{key} must be {expected}, found the text '{text}'; write it without "
                + $"quotes{NumberText.DecimalHint(text).Replace("; write", " and as", StringComparison.Ordinal)}")
        : null;

    /// <summary>Explains a decimal comma inside braces, which ends a value and turns its digits into a key.</summary>
    private static string? SplitNumber((string Name, YamlNode Value)? last, string name, YamlNode value) =>
        last is { Value: YamlScalarNode { Value: { } whole } } before && value is YamlScalarNode { Value: null or "" }
            && NumberText.DecimalHint($"{whole},{name}") is { Length: > 0 } hint
            ? $"the comma in '{whole},{name}' ends the value of {before.Name}{hint}"
            : null;

    /// <summary>Rejects input that could exhaust the stack or the memory, before the recursive reader sees it.</summary>
    private static void RequireTame(string text, string source)
    {
        var parser = new Parser(new StringReader(text));
        var depth = 0;
        while (parser.MoveNext())
        {
            var current = parser.Current!;
            depth += current.NestingIncrease;
            if (depth > MaxDepth)
            {
                throw Fault(source, current.Start, $"nested deeper than {MaxDepth} levels");
            }

            if (current is AnchorAlias || (current is NodeEvent node && !node.Anchor.IsEmpty))
            {
                throw Fault(source, current.Start, "anchors (&) and aliases (*) are not used in recipes; quote a pattern that starts with *");
            }
        }
    }

    private NibbleException Fault(YamlNode node, string message) => Fault(source, node.Start, message);

    private static NibbleException Fault(string source, Mark mark, string message) => new($"{source}, {Place(mark)}: {message.TrimEnd('.')}.");

    private static string Place(Mark mark) => $"line {mark.Line}, column {mark.Column}";
}
