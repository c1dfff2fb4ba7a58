using System.Globalization;
using System.Text.Json;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>The tokens that a <c>tokenizer.json</c> adds around text.</summary>
/// <param name="Before">The ids before the text.</param>
/// <param name="Behind">The ids after the text.</param>
internal sealed record TextTemplate(IReadOnlyList<int> Before, IReadOnlyList<int> Behind);

/// <summary>A tokenizer as described by a file.</summary>
/// <param name="Model">Converts text to ids.</param>
/// <param name="Added">The added tokens.</param>
/// <param name="Template">The tokens added around text; null if the file does not specify them.</param>
internal sealed record TokenizerContent(TokenModel Model, IReadOnlyList<AddedToken> Added, TextTemplate? Template);

/// <summary>
/// Reads <c>tokenizer.json</c>, the format of huggingface/tokenizers. Unsupported features are rejected with their position in the file.
/// </summary>
internal sealed class TokenizerJson
{
    /// <summary>GPT-2's pattern (openai/gpt-2, encoder.py), which the step ByteLevel applies by default.</summary>
    internal const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Single digits.</summary>
    internal const string DigitPattern = @"\p{N}";

    private readonly string path;
    private readonly Node root;

    private TokenizerJson(string path, JsonElement root)
    {
        this.path = path;
        this.root = new Node(path, string.Empty, root);
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="NibbleException">The file is broken or uses an unsupported feature.</exception>
    public static TokenizerContent Read(string path)
    {
        using var document = JsonFile.ReadObject(path);
        try
        {
            return new TokenizerJson(path, document.RootElement).Read();
        }
        catch (Exception exception) when (exception is KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            // System.Text.Json throws these for a missing property or a value of another type, and Regex for a bad pattern.
            throw new NibbleException($"{path} is not a valid tokenizer: {exception.Message}", exception);
        }
    }

    private TokenizerContent Read()
    {
        var added = AddedTokens();
        var model = Model();
        foreach (var (index, token) in added.Index())
        {
            if (model.IdOf(token.Text) is { } id && id != token.Id)
            {
                throw new NibbleException($"{path}: added_tokens[{index}] gives '{token.Text}' the id {token.Id}, but in model.vocab it has {id}; the "
                    + "file contradicts itself.");
            }

            if (token.Normalized && model is SentencePieceTokens { Model: { BlankBefore: not BlankBefore.Never, KeepsBlankBefore: false } })
            {
                throw root["added_tokens"].Refuse($"[{index}] ('{token.Text}') is normalized, and its normalizer puts a space before it", "normalized false");
            }
        }

        return new TokenizerContent(model, added, root.Find("post_processor") is { } processor ? Template(processor) : null);
    }

    private TokenModel Model()
    {
        var model = root.Find("model") ?? throw new KeyNotFoundException("model is missing");
        var type = model.Text("type") ?? (model.Find("merges") is not null ? "BPE" : "WordPiece");
        if (type == "WordPiece")
        {
            return WordPiece(model);
        }

        if (type != "BPE")
        {
            throw model.Refuse($"is of type {type}", "BPE or WordPiece");
        }

        foreach (var key in (string[])["continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (model.Text(key) is { Length: > 0 } mark)
            {
                throw model[key].Refuse($"is '{mark}'", "none");
            }
        }

        if (model.Find("dropout") is { } dropout && dropout.Value.GetDouble() != 0)
        {
            throw dropout.Refuse($"is {dropout.Value}, so text is split at random", "none");
        }

        var steps = Steps(root.Find("pre_tokenizer")).ToList();
        return steps.Exists(step => step.Text("type") == "ByteLevel") ? ByteLevel(model, steps) : SentencePiece(model, steps);
    }

    private ByteLevelModel ByteLevel(Node model, List<Node> steps)
    {
        if (model.Flag("byte_fallback") is true)
        {
            throw model["byte_fallback"].Refuse("is true although a step of pre_tokenizer is ByteLevel", "false");
        }

        var splits = new List<SplitStep>();
        foreach (var (index, step) in steps.Index())
        {
            switch (step.Text("type"))
            {
                case "ByteLevel" when index < steps.Count - 1:
                    throw step.Refuse("is of type ByteLevel and other steps follow it", "ByteLevel as the last step");
                case "ByteLevel":
                    if (step.Flag("add_prefix_space") is true)
                    {
                        throw step["add_prefix_space"].Refuse("is true", "false");
                    }

                    // Old files lack the key. They always apply the pattern.
                    splits.AddRange(step.Flag("use_regex") is not false ? [new SplitStep(Gpt2Pattern)] : []);
                    break;
                case "Digits":
                    splits.Add(new SplitStep(step.Flag("individual_digits") is true ? DigitPattern : DigitPattern + "+"));
                    break;
                case "Split":
                    splits.Add(Split(step));
                    break;
                case var type:
                    throw step.Refuse($"is of type {type}", "steps of the types Split, Digits and ByteLevel");
            }
        }

        return new ByteLevelModel(new BytePairs(splits, Vocabulary(model), Merges(model))
        {
            Normalization = Normalization(),
            IgnoresMerges = model.Flag("ignore_merges") is true,
        });
    }

    private static SplitStep Split(Node step)
    {
        var pattern = step["pattern"].Text("Regex") ?? System.Text.RegularExpressions.Regex.Escape(step["pattern"].Text("String")
            ?? throw step["pattern"].Refuse("is neither a Regex nor a String", "one of them"));
        if (TextSplitter.Misunderstood(pattern) is { } part)
        {
            throw step["pattern"].Refuse($"contains {part}, which .NET's regular expressions read differently: {pattern}", "a pattern without it");
        }

        return (step.Text("behavior"), step.Flag("invert") is true) switch
        {
            ("Isolated", _) => new SplitStep(pattern),
            ("Removed", true) => new SplitStep(pattern, DropsRest: true),
            var (behavior, invert) => throw step["behavior"].Refuse($"is {behavior}{(invert ? " with invert" : string.Empty)}",
                "Isolated, or Removed with invert"),
        };
    }

    /// <summary>The normalization of a byte-level model.</summary>
    private NormalizationForm? Normalization()
    {
        NormalizationForm? form = null;
        foreach (var step in Steps(root.Find("normalizer")))
        {
            form = step.Text("type") switch
            {
                "NFC" => NormalizationForm.C,
                "NFD" => NormalizationForm.D,
                var type => throw step.Refuse($"is of type {type}", "NFC, NFD or none"),
            };
        }

        return form;
    }

    private SentencePieceTokens SentencePiece(Node model, List<Node> steps)
    {
        if (model.Flag("byte_fallback") is not true)
        {
            throw model["byte_fallback"].Refuse("is not true, and no step of pre_tokenizer is ByteLevel, so words are spelled by characters",
                "bytes for characters without a token");
        }

        var (replaces, before, keeps) = (false, BlankBefore.Never, false);
        foreach (var step in Steps(root.Find("normalizer")))
        {
            switch (step.Text("type"))
            {
                case "Prepend" when step.Text("prepend") == "\u2581" && !replaces:
                    before = BlankBefore.Always;
                    break;
                case "Replace" when step["pattern"].Text("String") == " " && step.Text("content") == "\u2581":
                    replaces = true;
                    break;
                case var type:
                    throw step.Refuse($"is of type {type}, or replaces or prepends something other than \u2581",
                        "Prepend and Replace steps that turn spaces into \u2581");
            }
        }

        foreach (var step in steps)
        {
            switch (step.Text("type"))
            {
                case "Split" when replaces && step["pattern"].Text("String") == " ":
                    // No space is left to split at.
                    break;
                case "Metaspace" when !replaces && steps.Count == 1 && step.Text("replacement") == "\u2581" && step.Flag("split") is false:
                    (replaces, keeps) = (true, true);
                    before = step.Text("prepend_scheme") switch
                    {
                        "always" => BlankBefore.Always,
                        "first" => BlankBefore.First,
                        "never" => BlankBefore.Never,
                        var scheme => throw step["prepend_scheme"].Refuse($"is {scheme ?? "missing"}", "always, first or never"),
                    };
                    break;
                case var type:
                    throw step.Refuse($"is of type {type}", "none, or Metaspace of \u2581 with split false");
            }
        }

        if (!replaces)
        {
            throw root["normalizer"].Refuse("turns no spaces into \u2581, and neither does pre_tokenizer", "a step that does so");
        }

        if (model.Flag("fuse_unk") is not true)
        {
            throw model["fuse_unk"].Refuse("is not true", "one token for adjacent unknown characters");
        }

        var vocabulary = Vocabulary(model);
        var unknown = model.Text("unk_token") is { } text && vocabulary.TryGetValue(text, out var id) ? id : -1;
        var pieces = new Piece[vocabulary.Values.Max() + 1];
        Array.Fill(pieces, new Piece(string.Empty, 0, PieceKind.Unused));
        foreach (var (token, place) in vocabulary)
        {
            pieces[place] = new Piece(token, 0, place == unknown ? PieceKind.Unknown : IsByte(token) ? PieceKind.Byte : PieceKind.Normal);
        }

        var sentencePiece = new SentencePieceModel(pieces, before, unknown, -1, -1) { KeepsBlankBefore = keeps };
        return new SentencePieceTokens(sentencePiece, Merges(model)) { IgnoresMerges = model.Flag("ignore_merges") is true };

        static bool IsByte(string token) => token is ['<', '0', 'x', _, _, '>']
            && byte.TryParse(token.AsSpan(3, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out _);
    }

    private WordPieceTokens WordPiece(Node model)
    {
        BertNormalization? normalization = null;
        if (root.Find("normalizer") is { } normalizer)
        {
            if (normalizer.Text("type") is var type and not "BertNormalizer")
            {
                throw normalizer.Refuse($"is of type {type}", "BertNormalizer or none");
            }

            var lowers = normalizer.Flag("lowercase") is true;
            normalization = new BertNormalization(lowers, normalizer.Flag("strip_accents") ?? lowers)
            {
                Cleans = normalizer.Flag("clean_text") is not false,
                SetsIdeographsApart = normalizer.Flag("handle_chinese_chars") is not false,
            };
        }

        if (root.Find("pre_tokenizer") is not { } step || step.Text("type") != "BertPreTokenizer")
        {
            throw root["pre_tokenizer"].Refuse($"is {(root.Find("pre_tokenizer") is { } other ? $"of type {other.Text("type")}" : "missing")}",
                "BertPreTokenizer");
        }

        if (model.Text("continuing_subword_prefix") is { } prefix and not "##")
        {
            throw model["continuing_subword_prefix"].Refuse($"is '{prefix}'", "##");
        }

        var vocabulary = Vocabulary(model);
        var tokens = new string?[vocabulary.Count];
        foreach (var (token, id) in vocabulary)
        {
            if (id >= tokens.Length || tokens[id] is not null)
            {
                throw new NibbleException($"{path}: the id {id} of '{token}' is used twice or leaves a gap; expected 0 to {tokens.Length - 1}, once each.");
            }

            tokens[id] = token;
        }

        const int longest = 100;
        return new WordPieceTokens(path, tokens!, normalization, model.Text("unk_token") ?? "[UNK]", model.Find("max_input_chars_per_word") is { } limit
            ? limit.Value.GetInt32() : longest);
    }

    private Dictionary<string, int> Vocabulary(Node model)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var token in model["vocab"].Value.EnumerateObject())
        {
            // No real vocabulary approaches this limit. Without it, a single id could use up all memory.
            var id = token.Value.GetInt32();
            if (id is < 0 or >= 1 << 24 || !vocabulary.TryAdd(token.Name, id))
            {
                throw new NibbleException($"{path}: the token '{token.Name}' occurs twice or has the id {id}; expected 0 to {(1 << 24) - 1}.");
            }
        }

        return vocabulary.Count > 0 ? vocabulary : throw new NibbleException($"{path}: the vocabulary is empty.");
    }

    private static List<(string Left, string Right)> Merges(Node model)
    {
        var merges = new List<(string Left, string Right)>();
        foreach (var merge in model["merges"].Value.EnumerateArray())
        {
            if (merge.ValueKind == JsonValueKind.Array)
            {
                merges.Add((merge[0].GetString()!, merge[1].GetString()!));
                continue;
            }

            merges.Add(merge.GetString()!.Split(' ') is [var left, var right] ? (left, right)
                : throw new FormatException($"the merge '{merge.GetString()}' does not have two tokens"));
        }

        return merges;
    }

    private List<AddedToken> AddedTokens()
    {
        var tokens = new List<AddedToken>();
        if (root.Find("added_tokens") is { } list)
        {
            foreach (var (index, token) in list.Value.EnumerateArray().Index())
            {
                tokens.Add(AddedTokenOf(new Node(path, $"added_tokens[{index}]", token), token.GetProperty("id").GetInt32()));
            }
        }

        return tokens;
    }

    /// <summary>Reads an added token in the form of <c>tokenizer.json</c> and <c>tokenizer_config.json</c>.</summary>
    internal static AddedToken AddedTokenOf(Node token, int id)
    {
        var text = token.Text("content");
        return text is not { Length: > 0 } || id is < 0 or >= 1 << 24
            ? throw new NibbleException($"{token.Place} has no text or has the id {id}; expected text and an id from 0 to {(1 << 24) - 1}.")
            : new AddedToken(text, id, token.Flag("special") is true)
            {
                SingleWord = token.Flag("single_word") is true,
                TakesBlanksBefore = token.Flag("lstrip") is true,
                TakesBlanksBehind = token.Flag("rstrip") is true,
                Normalized = token.Flag("normalized") is true,
            };
    }

    private static TextTemplate? Template(Node processor)
    {
        switch (processor.Text("type"))
        {
            case "ByteLevel":
                return null;
            case "BertProcessing" or "RobertaProcessing":
                return new TextTemplate([processor["cls"].Value[1].GetInt32()], [processor["sep"].Value[1].GetInt32()]);
            case "Sequence":
                return Steps(processor).Select(Template).OfType<TextTemplate>().Aggregate(
                    (TextTemplate?)null,
                    (inner, outer) => inner is null ? outer : new TextTemplate([.. outer.Before, .. inner.Before], [.. inner.Behind, .. outer.Behind]));
            case "TemplateProcessing":
                break;
            case var type:
                throw processor.Refuse($"is of type {type}", "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel or none");
        }

        var (ids, text) = (new List<int>(), -1);
        foreach (var piece in processor["single"].Value.EnumerateArray())
        {
            if (piece.TryGetProperty("SpecialToken", out var token))
            {
                ids.AddRange(processor["special_tokens"][token.GetProperty("id").GetString()!]["ids"].Value.EnumerateArray().Select(id => id.GetInt32()));
            }
            else
            {
                text = text < 0 ? ids.Count : throw processor["single"].Refuse("contains the text twice", "one text");
            }
        }

        return text >= 0 ? new TextTemplate(ids[..text], ids[text..]) : throw processor["single"].Refuse("contains no text", "one text");
    }

    /// <summary>The steps of an object that is either one step or a sequence of steps.</summary>
    private static IEnumerable<Node> Steps(Node? step)
    {
        if (step is not { } node)
        {
            return [];
        }

        var key = ((string[])["normalizers", "pretokenizers", "processors"]).FirstOrDefault(name => node.Find(name) is not null);
        return node.Text("type") == "Sequence" && key is not null
            ? node[key].Value.EnumerateArray().Index().SelectMany(item => Steps(node.At(key, item.Index, item.Item)))
            : [node];
    }
}

/// <summary>A value in a JSON file, and its position.</summary>
internal readonly struct Node(string path, string key, JsonElement value)
{
    /// <summary>The value.</summary>
    /// <exception cref="KeyNotFoundException">The value is missing.</exception>
    public JsonElement Value => value.ValueKind != JsonValueKind.Undefined ? value : throw new KeyNotFoundException($"{key} is missing");

    /// <summary>The file and the key, for messages.</summary>
    public string Place => key.Length > 0 ? $"{path}: {key}" : path;

    /// <summary>A property, which may be missing.</summary>
    public Node this[string name] => new(path, key.Length > 0 ? $"{key}.{name}" : name, value.ValueKind == JsonValueKind.Object
        && value.TryGetProperty(name, out var found) ? found : default);

    /// <summary>A property; null if it is missing or null.</summary>
    public Node? Find(string name) =>
        value.ValueKind == JsonValueKind.Object && value.TryGetProperty(name, out var found) && found.ValueKind != JsonValueKind.Null ? this[name] : null;

    /// <summary>An item of a property that is a list.</summary>
    public Node At(string name, int index, JsonElement item) => new(path, $"{(key.Length > 0 ? $"{key}." : string.Empty)}{name}[{index}]", item);

    /// <summary>A string property; null if there is none.</summary>
    public string? Text(string name) => Find(name) is { Value.ValueKind: JsonValueKind.String } found ? found.Value.GetString() : null;

    /// <summary>A Boolean property; null if there is none.</summary>
    public bool? Flag(string name) => Find(name) is { Value.ValueKind: JsonValueKind.True or JsonValueKind.False } found ? found.Value.GetBoolean() : null;

    /// <summary>Creates an exception about something that is not supported.</summary>
    public NibbleException Refuse(string found, string expected) => new($"{Place} {found}, which is not supported; expected {expected}.");
}
