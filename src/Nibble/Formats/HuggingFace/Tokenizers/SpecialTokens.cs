using System.Text.Json;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>The tokens that start and end text, and which of them the tokenizer adds.</summary>
/// <remarks>
/// The tokenizer's files decide, as in huggingface/transformers: the flags of <c>tokenizer_config.json</c>, then the template of <c>tokenizer.json</c>,
/// then the default of the tokenizer type. <c>config.json</c> can name a token, but cannot make the tokenizer add it.
/// </remarks>
/// <param name="BosId">The beginning-of-sequence token; null if no file names one.</param>
/// <param name="EosId">The end-of-sequence token; null if no file names one.</param>
/// <param name="StartId">The token added before text; null for none.</param>
/// <param name="EndId">The token added after text; null for none.</param>
internal sealed record SpecialTokens(int? BosId, int? EosId, int? StartId, int? EndId)
{
    public const string ConfigFile = "tokenizer_config.json";
    private const string MapFile = "special_tokens_map.json";

    private static readonly string[] Named = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    private static readonly string[] Lists = ["additional_special_tokens", "extra_special_tokens"];

    // The classes of transformers that add the beginning of a sequence unless a flag forbids it.
    private static readonly string[] BeginningClasses = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"];

    /// <summary>The added tokens from the files next to a tokenizer.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="content">The tokenizer.</param>
    /// <param name="isWhole">Whether the tokenizer's file lists added tokens, so that <c>added_tokens.json</c> is not needed.</param>
    /// <exception cref="NibbleException">A file is broken.</exception>
    public static IReadOnlyList<AddedToken> Added(string folder, TokenizerContent content, bool isWhole)
    {
        var tokens = content.Added.ToDictionary(token => token.Text, StringComparer.Ordinal);
        if (Open(folder, ConfigFile) is { } config)
        {
            foreach (var token in config.Find("added_tokens_decoder") is { Value.ValueKind: JsonValueKind.Object } decoder
                ? decoder.Value.EnumerateObject().ToArray() : [])
            {
                if (!int.TryParse(token.Name, out var id))
                {
                    throw config["added_tokens_decoder"].Refuse($"has the key '{token.Name}'", "ids");
                }

                var added = TokenizerJson.AddedTokenOf(config["added_tokens_decoder"][token.Name], id);
                tokens.TryAdd(added.Text, added);
            }

            foreach (var text in Named.Select(name => TextOf(config.Find(name))).Concat(Lists.SelectMany(name => Texts(config.Find(name)))).OfType<string>())
            {
                // The model does not know a special token that is not in the vocabulary.
                if (content.Model.IdOf(text) is { } id)
                {
                    tokens.TryAdd(text, new AddedToken(text, id, Special: true));
                }
            }
        }

        if (!isWhole && Open(folder, "added_tokens.json") is { } list)
        {
            foreach (var token in list.Value.EnumerateObject())
            {
                tokens.TryAdd(token.Name, token.Value.ValueKind == JsonValueKind.Number && token.Value.TryGetInt32(out var id) && id >= 0
                    ? new AddedToken(token.Name, id, Special: false)
                    : throw list[token.Name].Refuse($"is {token.Value}", "an id"));
            }
        }

        return [.. tokens.Values];
    }

    /// <summary>Finds the tokens.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="content">The tokenizer, with all its added tokens.</param>
    /// <exception cref="NibbleException">A file is broken or adds something unsupported around text.</exception>
    public static SpecialTokens Find(string folder, TokenizerContent content)
    {
        var config = Open(folder, ConfigFile);
        var map = Open(folder, MapFile);
        var (model, template) = (content.Model, content.Template);
        if (template is { Before.Count: > 1 } && config?.Flag("add_bos_token") is null)
        {
            throw new NibbleException($"{Path.Combine(folder, TokenizerFiles.Json)}: post_processor puts {template.Before.Count} tokens before text, "
                + "which is not supported; expected at most one.");
        }

        var pieces = (model as SentencePieceTokens)?.Model;
        var isWordPiece = model is WordPieceTokens;
        var bos = Id("bos_token") ?? (Says("bos_token") ? null : Id("cls_token")) ?? (isWordPiece ? model.IdOf("[CLS]") : null) ?? Piece(pieces?.BosId);
        var eos = Id("eos_token") ?? (Says("eos_token") ? null : Id("sep_token")) ?? (isWordPiece ? model.IdOf("[SEP]") : null) ?? Piece(pieces?.EosId);
        var start = config?.Flag("add_bos_token") switch
        {
            true => bos,
            false => null,
            null when template is not null && !BeginsByClass() => template.Before is [var first] ? first : null,
            null when template is not null => template.Before is [var first] ? first : bos,
            null => isWordPiece || pieces is { BosId: >= 0 } || BeginsByClass() ? bos : null,
        };
        var end = config?.Flag("add_eos_token") switch
        {
            true => eos,
            false => null,
            null when template is not null => template.Behind is [.., var last] ? last : null,
            null => isWordPiece ? eos : null,
        };
        var (otherBos, otherEos) = Configured(folder, Math.Max(model.Size, content.Added.Select(token => token.Id + 1).DefaultIfEmpty().Max()), bos
            ?? start, eos ?? end);
        return new SpecialTokens(bos ?? start ?? otherBos, eos ?? end ?? otherEos, start, end);

        // Classes of transformers override the template of the file.
        bool BeginsByClass() => config?.Text("tokenizer_class") is { } name
            && BeginningClasses.Contains(name.EndsWith("Fast", StringComparison.Ordinal) ? name[..^4] : name);

        // Null in the file means that there is no such token.
        bool Says(string name) => config is { } file && file.Value.TryGetProperty(name, out _);

        int? Id(string name)
        {
            var (text, file) = Says(name) ? (TextOf(config!.Value.Find(name)), ConfigFile) : (TextOf(map?.Find(name)), MapFile);
            return text is null ? null
                : content.Added.FirstOrDefault(token => token.Text == text)?.Id ?? model.IdOf(text)
                ?? throw new NibbleException($"{Path.Combine(folder, file)}: {name} is '{text}', which is not a token of the tokenizer; expected one or null.");
        }

        static int? Piece(int? id) => id is >= 0 ? id : null;
    }

    /// <summary>The text of a token, which is either a string or an object that contains one.</summary>
    private static string? TextOf(Node? token) => token is not { } node ? null : node.Value.ValueKind == JsonValueKind.String ? node.Value.GetString()
        : node.Text("content");

    private static IEnumerable<string?> Texts(Node? list) => list switch
    {
        { Value.ValueKind: JsonValueKind.Array } node => node.Value.EnumerateArray().Index()
            .Select(item => TextOf(node.At(string.Empty, item.Index, item.Item))),
        { Value.ValueKind: JsonValueKind.Object } node => node.Value.EnumerateObject().Select(item => TextOf(node[item.Name])).ToArray(),
        _ => [],
    };

    /// <summary>The ids in the model's configuration, where they are needed. Of several ids, the first.</summary>
    private static (int? Bos, int? Eos) Configured(string folder, int vocabularySize, int? bos, int? eos)
    {
        var config = bos is null || eos is null ? Open(folder, Checkpoint.ConfigName) : null;
        return (bos is null ? Id("bos_token_id") : null, eos is null ? Id("eos_token_id") : null);

        int? Id(string key)
        {
            if (config?.Find(key) is not { } node)
            {
                return null;
            }

            var first = node.Value.ValueKind == JsonValueKind.Array && node.Value.GetArrayLength() > 0 ? node.Value[0] : node.Value;
            return first.ValueKind == JsonValueKind.Number && first.TryGetInt32(out var id) && id >= 0 && id < vocabularySize
                ? id
                : throw new NibbleException($"{node.Place} is {node.Value}; expected an id of the vocabulary, 0 to {vocabularySize - 1}.");
        }
    }

    private static Node? Open(string folder, string name)
    {
        var path = Path.Combine(folder, name);
        if (!File.Exists(path))
        {
            return null;
        }

        using var document = name == Checkpoint.ConfigName ? JsonDocument.Parse(Checkpoint.ReadConfig(path)) : JsonFile.ReadObject(path);
        return new Node(path, string.Empty, document.RootElement.Clone());
    }
}
