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
internal sealed record TokenizerContent(TokenModel Model, IReadOnlyList<AddedToken> Added, TextTemplate? Template)
{
    /// <summary>Converts the tokens of a text to the text; null if the model does.</summary>
    public Func<List<string>, string>? Decoder { get; init; }
}

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
        var model = Model(added);
        foreach (var (index, token) in added.Index())
        {
            if (model.IdOf(token.Text) is { } id && id != token.Id)
            {
                throw new NibbleException($"{path}: added_tokens[{index}] gives '{token.Text}' the id {token.Id}, but in model.vocab it has {id}; the "
                    + "file contradicts itself.");
            }

            if (token.Normalized && model.NormalizeToken(token.Text).Length == 0)
            {
                throw root["added_tokens"].Refuse($"[{index}] ('{token.Text}') is normalized, and nothing is left of it", "normalized false");
            }
        }

        return new TokenizerContent(model, added, root.Find("post_processor") is { } processor ? Template(processor) : null) { Decoder = Decoder(model) };
    }

    private Func<List<string>, string>? Decoder(TokenModel model)
    {
        if (root.Find("decoder") is not { } decoder)
        {
            // Without one, the library puts spaces between tokens.
            return model is ComposedModel ? tokens => string.Join(' ', tokens) : null;
        }

        Func<List<string>, List<string>>[] steps = [.. Steps(decoder).Select(DecoderReader.Read)];
        return model is ByteLevelModel && decoder.Text("type") == "ByteLevel" ? null
            : tokens => tokens.Count == 0 ? string.Empty : string.Concat(steps.Aggregate(tokens, (tokens, step) => step(tokens)));
    }

    private TokenModel Model(IReadOnlyList<AddedToken> added)
    {
        var model = root.Find("model") ?? throw new KeyNotFoundException("model is missing");
        if (model.Find("dropout") is { } dropout && dropout.Value.GetDouble() != 0)
        {
            throw dropout.Refuse($"is {dropout.Value}, so text is split at random", "none");
        }

        List<Node> normalizers = [.. Steps(root.Find("normalizer"))], steps = [.. Steps(root.Find("pre_tokenizer"))];
        Dictionary<string, int> vocabulary;
        switch (model.Text("type") ?? (model.Find("merges") is not null ? "BPE" : model.Find("unk_id") is not null ? "Unigram" : "WordPiece"))
        {
            case "BPE":
                vocabulary = Vocabulary(model);
                return IsByteLevel(model, vocabulary, normalizers, steps) ? ByteLevel(model, vocabulary, normalizers, steps)
                    : SentencePieceOf(model, vocabulary, normalizers, steps) is { } form
                        && !(form.Prepends && added.Any(token => token.Normalized)) ? SentencePiece(model, vocabulary, form)
                    : Composed(BytePairWords(model, vocabulary), "BPE without a form that GGUF knows", normalizers, steps);
            case "WordPiece":
                vocabulary = Vocabulary(model);
                return IsBert(model, normalizers, steps) ? WordPiece(model, vocabulary, normalizers)
                    : Composed(new WordPieceWords(path, vocabulary, Unknown(model, vocabulary, "[UNK]"), model.Text("continuing_subword_prefix") ?? "##",
                        Longest(model)), "WordPiece", normalizers, steps);
            case "Unigram":
                return Composed(Unigram(model), "unigram", normalizers, steps);
            case "WordLevel":
                vocabulary = Vocabulary(model);
                return Composed(new WholeWords(path, vocabulary, Unknown(model, vocabulary, "<unk>")), "a list of whole words", normalizers, steps);
            case var type:
                throw model.Refuse($"is of type {type}", "BPE, Unigram, WordPiece or WordLevel");
        }
    }

    private static ComposedModel Composed(WordModel words, string kind, List<Node> normalizers, List<Node> steps)
    {
        var knowsFirst = normalizers.TrueForAll(NormalizerReader.KeepsBeginning);
        return new ComposedModel(
            [.. normalizers.Select(NormalizerReader.Read)],
            [.. steps.Select((step, index) => PreTokenizerReader.Read(step, knowsFirst && index == 0))],
            words,
            kind);
    }

    /// <summary>Whether BPE has the form of GPT-2: no marks at the edges of words, and text split by patterns before it is written as bytes.</summary>
    private static bool IsByteLevel(Node model, Dictionary<string, int> vocabulary, List<Node> normalizers, List<Node> steps) =>
        steps.Count > 0 && steps[^1].Text("type") == "ByteLevel" && steps[^1].Flag("add_prefix_space") is not true
        && steps[..^1].TrueForAll(step => step.Text("type") switch
        {
            "Digits" => true,
            "Split" => (step.Text("behavior"), step.Flag("invert") is true) is ("Isolated", _) or ("Removed", true),
            _ => false,
        })
        && normalizers.TrueForAll(step => step.Text("type") is "NFC" or "NFD")
        && HasNoMarks(model) && model.Flag("byte_fallback") is not true
        && (model.Text("unk_token") is null || ByteAlphabet.Letters.All(letter => vocabulary.ContainsKey(letter.ToString())));

    private static bool HasNoMarks(Node model) => model.Text("continuing_subword_prefix") is null or "" && model.Text("end_of_word_suffix") is null or "";

    private static ByteLevelModel ByteLevel(Node model, Dictionary<string, int> vocabulary, List<Node> normalizers, List<Node> steps)
    {
        var splits = new List<SplitStep>();
        foreach (var step in steps)
        {
            switch (step.Text("type"))
            {
                case "Digits":
                    splits.Add(new SplitStep(step.Flag("individual_digits") is true ? DigitPattern : DigitPattern + "+"));
                    break;
                case "Split":
                    _ = NormalizerReader.Pattern(step);
                    splits.Add(new SplitStep(step["pattern"].Text("Regex") ?? System.Text.RegularExpressions.Regex.Escape(step["pattern"].Text("String")!),
                        DropsRest: step.Text("behavior") == "Removed"));
                    break;
                default:
                    // Old files lack the key. They always apply the pattern.
                    splits.AddRange(step.Flag("use_regex") is not false ? [new SplitStep(Gpt2Pattern)] : []);
                    break;
            }
        }

        return new ByteLevelModel(new BytePairs(splits, vocabulary, Merges(model))
        {
            Normalization = normalizers.Count == 0 ? null : normalizers[^1].Text("type") == "NFC" ? NormalizationForm.C : NormalizationForm.D,
            IgnoresMerges = model.Flag("ignore_merges") is true,
        });
    }

    /// <summary>A form of SentencePiece BPE.</summary>
    /// <param name="Before">Which text gets a space before it.</param>
    /// <param name="Keeps">Whether text that starts with a space gets no other.</param>
    private sealed record SentencePieceForm(BlankBefore Before, bool Keeps)
    {
        /// <summary>Whether a space is put before added tokens, too, when they are normalized.</summary>
        public bool Prepends => Before != BlankBefore.Never && !Keeps;
    }

    /// <summary>The form of SentencePiece BPE that BPE has; null if it has another form.</summary>
    private static SentencePieceForm? SentencePieceOf(Node model, Dictionary<string, int> vocabulary, List<Node> normalizers, List<Node> steps)
    {
        const string blank = "\u2581";
        var bytes = Enumerable.Range(0, 256).Count(value => vocabulary.ContainsKey(ByteToken.Of(value)));
        if (!HasNoMarks(model) || model.Flag("byte_fallback") is not true || model.Flag("fuse_unk") is not true || bytes is not 0 and not 256)
        {
            return null;
        }

        bool[] replaces = [.. normalizers.Select(step => step.Text("type") == "Replace" && step["pattern"].Text("String") == " "
            && step.Text("content") == blank)];
        var prepends = normalizers.Count > 1 && normalizers[0].Text("type") == "Prepend" && normalizers[0].Text("prepend") == blank;
        if (normalizers.Count == (prepends ? 2 : 1) && replaces[^1])
        {
            // No space is left to split at.
            return steps.TrueForAll(step => step.Text("type") == "Split" && step["pattern"].Text("String") == " " && step.Flag("invert") is not true)
                ? new SentencePieceForm(prepends ? BlankBefore.Always : BlankBefore.Never, Keeps: false) : null;
        }

        return normalizers.Count == 0 && steps is [var only] && only.Text("type") == "Metaspace" && only.Text("replacement") == blank
            && only.Flag("split") is false ? new SentencePieceForm(PreTokenizerReader.Before(only), Keeps: true) : null;
    }

    private static SentencePieceTokens SentencePiece(Node model, Dictionary<string, int> vocabulary, SentencePieceForm form)
    {
        var unknown = model.Text("unk_token") is { } text && vocabulary.TryGetValue(text, out var id) ? id : -1;
        var pieces = new Piece[vocabulary.Values.Max() + 1];
        Array.Fill(pieces, new Piece(string.Empty, 0, PieceKind.Unused));
        foreach (var (token, place) in vocabulary)
        {
            pieces[place] = new Piece(token, 0, place == unknown ? PieceKind.Unknown : ByteToken.TryParse(token, out _) ? PieceKind.Byte : PieceKind.Normal);
        }

        var sentencePiece = new SentencePieceModel(pieces, form.Before, unknown, -1, -1) { KeepsBlankBefore = form.Keeps };
        return new SentencePieceTokens(sentencePiece, Merges(model)) { IgnoresMerges = model.Flag("ignore_merges") is true };
    }

    private BytePairWords BytePairWords(Node model, Dictionary<string, int> vocabulary) => new(
        path,
        vocabulary,
        model.Text("unk_token") is { } unknown ? vocabulary.TryGetValue(unknown, out var id) ? id
            : throw model["unk_token"].Refuse($"is '{unknown}', which is not in the vocabulary", "a token of it or null") : null,
        Merges(model),
        new BytePairSpelling(model.Text("continuing_subword_prefix") ?? string.Empty, model.Text("end_of_word_suffix") ?? string.Empty)
        {
            FusesUnknown = model.Flag("fuse_unk") is true,
            FallsBackToBytes = model.Flag("byte_fallback") is true,
            IgnoresMerges = model.Flag("ignore_merges") is true,
        });

    private UnigramWords Unigram(Node model)
    {
        var pieces = new List<(string Text, double Score)>();
        foreach (var piece in model["vocab"].Value.EnumerateArray())
        {
            pieces.Add((piece[0].GetString()!, piece[1].GetDouble()));
        }

        int? unknown = model.Find("unk_id")?.Value.GetInt32();
        return pieces.Count == 0 ? throw new NibbleException($"{path}: the vocabulary is empty.")
            : unknown is null || (unknown >= 0 && unknown < pieces.Count) ? new UnigramWords(path, pieces, unknown, model.Flag("byte_fallback") is true)
            : throw model["unk_id"].Refuse($"is {unknown}", $"an id of the vocabulary, 0 to {pieces.Count - 1}, or null");
    }

    private static bool IsBert(Node model, List<Node> normalizers, List<Node> steps) =>
        (normalizers.Count == 0 || (normalizers.Count == 1 && normalizers[0].Text("type") == "BertNormalizer"))
        && steps is [var step] && step.Text("type") == "BertPreTokenizer" && model.Text("continuing_subword_prefix") is null or "##";

    private WordPieceTokens WordPiece(Node model, Dictionary<string, int> vocabulary, List<Node> normalizers)
    {
        var tokens = new string?[vocabulary.Count];
        foreach (var (token, id) in vocabulary)
        {
            if (id >= tokens.Length || tokens[id] is not null)
            {
                throw new NibbleException($"{path}: the id {id} of '{token}' is used twice or leaves a gap; expected 0 to {tokens.Length - 1}, once each.");
            }

            tokens[id] = token;
        }

        return new WordPieceTokens(path, tokens!, normalizers.Count == 0 ? null : NormalizerReader.Bert(normalizers[0]), model.Text("unk_token") ?? "[UNK]",
            Longest(model));
    }

    private static int Longest(Node model)
    {
        const int usual = 100;
        return model.Find("max_input_chars_per_word")?.Value.GetInt32() ?? usual;
    }

    /// <summary>The id of the token for unknown words, which may be missing where a vocabulary spells everything.</summary>
    private static int? Unknown(Node model, Dictionary<string, int> vocabulary, string usual) =>
        vocabulary.TryGetValue(model.Text("unk_token") ?? usual, out var id) ? id : null;

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

            // The first line of merges.txt, of which old files are made.
            if (merge.GetString()!.StartsWith("#version", StringComparison.Ordinal))
            {
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

        var key = ((string[])["normalizers", "pretokenizers", "processors", "decoders"]).FirstOrDefault(name => node.Find(name) is not null);
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
