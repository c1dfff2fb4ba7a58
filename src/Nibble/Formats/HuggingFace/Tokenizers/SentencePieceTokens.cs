using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Which text gets a space before it.</summary>
internal enum BlankBefore
{
    /// <summary>None.</summary>
    Never,

    /// <summary>Only text without an added token before it.</summary>
    First,

    /// <summary>All.</summary>
    Always,
}

/// <summary>SentencePiece BPE (Kudo and Richardson 2018): merges characters across words, and spells characters without a token as bytes.</summary>
/// <remarks>Follows google/sentencepiece, <c>src/bpe_model.cc</c>, or the list of merges that huggingface/tokenizers derives from its scores.</remarks>
internal sealed class SentencePieceTokens : TokenModel
{
    /// <summary>The character that represents a space in pieces.</summary>
    public const char Blank = '\u2581';

    private readonly Dictionary<string, int> all = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> ids;
    private readonly bool hasUnused;
    private readonly BytePairMerger merger;
    private readonly AddedTokens userDefined;
    private readonly int[] idsOfBytes = new int[256];
    private readonly int[] bytesOfIds;

    /// <param name="model">The pieces.</param>
    /// <param name="merges">Pairs of pieces in the order of merging; null to use the pieces' scores.</param>
    /// <exception cref="FormatException">A merge uses pieces that do not exist, or some text cannot be spelled.</exception>
    public SentencePieceTokens(SentencePieceModel model, IReadOnlyList<(string Left, string Right)>? merges)
    {
        Model = model;
        Merges = merges;
        bytesOfIds = new int[model.Pieces.Count];
        Array.Fill(idsOfBytes, -1);
        Array.Fill(bytesOfIds, -1);
        ids = merges is null ? new Dictionary<string, int>(StringComparer.Ordinal) : all;
        for (var id = 0; id < model.Pieces.Count; id++)
        {
            var (text, _, kind) = model.Pieces[id];
            hasUnused |= kind == PieceKind.Unused;
            all.TryAdd(text, id);
            if (kind == PieceKind.Byte)
            {
                var value = ByteToken.TryParse(text, out var parsed) ? parsed
                    : throw new FormatException($"the piece '{text}' of id {id} has the kind byte, expected text such as <0x0A>");
                (idsOfBytes[value], bytesOfIds[id]) = (id, value);
            }
            else if (kind is PieceKind.Normal or PieceKind.UserDefined or PieceKind.Unused)
            {
                ids.TryAdd(text, id);
            }
        }

        all.Remove(string.Empty);
        ids.Remove(string.Empty);

        userDefined = new AddedTokens(model.Pieces.Index().Where(piece => piece.Item.Kind == PieceKind.UserDefined && piece.Item.Text.Length > 0)
            .Select(piece => new AddedToken(piece.Item.Text, piece.Index, Special: false)));
        if (Array.Exists(idsOfBytes, id => id < 0) && (model.UnknownId < 0 || model.UnknownId >= model.Pieces.Count))
        {
            throw new FormatException("there are neither pieces for all bytes nor one for unknown text, so some text cannot be spelled");
        }

        merger = merges is null ? ByScores() : ByList(merges);
    }

    /// <summary>The pieces.</summary>
    public SentencePieceModel Model { get; }

    /// <summary>The list that determines the order of merges; null if scores do.</summary>
    public IReadOnlyList<(string Left, string Right)>? Merges { get; }

    public override int Size => Model.Pieces.Count;

    public override int? UnknownId => Model.UnknownId;

    /// <summary>Whether a word that is a piece becomes that piece regardless of merges.</summary>
    public bool IgnoresMerges { get; init; }

    public override int? IdOf(string text) => all.TryGetValue(text, out var id) ? id : null;

    public override string? TokenOf(int id) => Model.Pieces[id].Text is { Length: > 0 } text ? text : null;

    public override string Normalize(string text, bool first)
    {
        if (Model.RemovesExtraBlanks)
        {
            text = string.Join(' ', text.Split(' ', StringSplitOptions.RemoveEmptyEntries));
        }

        return Model.KeepsBlankBefore ? text : Marked(text, first);
    }

    public override string NormalizeToken(string text) => Model.KeepsBlankBefore ? text : text.Replace(' ', Blank);

    public override string DecodeToken(string text) => text.Replace(Blank, ' ');

    public override void Encode(string text, bool first, List<int> result)
    {
        // Of the two forms in tokenizer.json, the newer one marks spaces only after it has found all added tokens.
        text = Model.KeepsBlankBefore ? Marked(text, first) : text;
        foreach (var (token, part) in userDefined.Split(text))
        {
            if (token is not null)
            {
                result.Add(token.Id);
            }
            else if (IgnoresMerges && ids.TryGetValue(part, out var whole))
            {
                result.Add(whole);
            }
            else
            {
                EncodePart(part, result);
            }
        }
    }

    public override string Decode(IReadOnlyList<int> pieces)
    {
        var text = new StringBuilder();
        var bytes = new List<byte>();
        foreach (var id in pieces)
        {
            if (bytesOfIds[id] >= 0)
            {
                bytes.Add((byte)bytesOfIds[id]);
                continue;
            }

            Flush();
            text.Append(Model.Pieces[id].Text);
        }

        Flush();
        text.Replace(Blank, ' ');
        return Model.BlankBefore != BlankBefore.Never && text.Length > 0 && text[0] == ' ' ? text.ToString(1, text.Length - 1) : text.ToString();

        void Flush()
        {
            text.Append(Encoding.UTF8.GetString(bytes.ToArray()));
            bytes.Clear();
        }
    }

    /// <summary>The text with all spaces marked, and one put before it if asked. The newer form keeps a space that is there.</summary>
    private string Marked(string text, bool first)
    {
        text = text.Replace(' ', Blank);
        var puts = Model.BlankBefore == BlankBefore.Always || (Model.BlankBefore == BlankBefore.First && first);
        return text.Length > 0 && puts && !(Model.KeepsBlankBefore && text[0] == Blank) ? Blank + text : text;
    }

    private void EncodePart(string text, List<int> result)
    {
        var symbols = new List<int>(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            symbols.Add(SymbolOf(rune));
        }

        // A piece of kind unused is only an intermediate step of merging and is split again.
        var apart = hasUnused && Merges is null ? new Dictionary<int, (int Left, int Right)>() : null;
        merger.Merge(symbols, apart is null ? null : (left, right, id) => apart[id] = (left, right));
        var wasUnknown = false;
        foreach (var symbol in symbols)
        {
            Append(symbol);
        }

        void Append(int symbol)
        {
            if (symbol >= 0 && apart is not null && Model.Pieces[symbol].Kind == PieceKind.Unused && apart.TryGetValue(symbol, out var parts))
            {
                Append(parts.Left);
                Append(parts.Right);
                return;
            }

            // Adjacent unknown characters become one unknown token.
            var isUnknown = symbol < 0 && !AppendBytes(new Rune(~symbol), result);
            if (symbol >= 0 || (isUnknown && !wasUnknown))
            {
                result.Add(isUnknown ? Model.UnknownId : symbol);
            }

            wasUnknown = isUnknown;
        }
    }

    /// <summary>Spells a character with bytes, if there are pieces for all of them.</summary>
    private bool AppendBytes(Rune rune, List<int> result)
    {
        Span<byte> bytes = stackalloc byte[4];
        bytes = bytes[..rune.EncodeToUtf8(bytes)];
        foreach (var value in bytes)
        {
            if (idsOfBytes[value] < 0)
            {
                return false;
            }
        }

        foreach (var value in bytes)
        {
            result.Add(idsOfBytes[value]);
        }

        return true;
    }

    /// <summary>A character as a symbol to merge: its piece, or a negative number that identifies a character without a piece.</summary>
    private int SymbolOf(Rune rune)
    {
        Span<char> text = stackalloc char[2];
        var length = rune.EncodeToUtf16(text);
        return ids.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(text[..length], out var id) ? id : ~rune.Value;
    }

    /// <summary>All ways to form a piece from two others or from characters. The piece with the highest score comes first.</summary>
    private BytePairMerger ByScores()
    {
        var ranks = ids.Values.Select(id => Model.Pieces[id].Score).Distinct().OrderDescending().Index()
            .ToDictionary(score => score.Item, score => score.Index);
        var pairs = new BytePairMerger(ids.Count * 4);
        var lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach (var (text, id) in ids)
        {
            for (var cut = 1; cut < text.Length; cut++)
            {
                if (!char.IsLowSurrogate(text[cut]) && Part(text.AsSpan(0, cut)) is { } left && Part(text.AsSpan(cut)) is { } right)
                {
                    pairs.Add(left, right, ranks[Model.Pieces[id].Score], id);
                }
            }
        }

        return pairs;

        int? Part(ReadOnlySpan<char> text) =>
            lookup.TryGetValue(text, out var id) ? Model.Pieces[id].Kind == PieceKind.UserDefined ? null : id
            : Rune.DecodeFromUtf16(text, out var rune, out var length) == System.Buffers.OperationStatus.Done && length == text.Length ? ~rune.Value
            : null;
    }

    private BytePairMerger ByList(IReadOnlyList<(string Left, string Right)> merges)
    {
        var pairs = new BytePairMerger(merges.Count);
        for (var rank = 0; rank < merges.Count; rank++)
        {
            var (left, right) = merges[rank];
            pairs.Add(Id(left), Id(right), rank, Id(left + right));
        }

        return pairs;

        int Id(string text) => all.TryGetValue(text, out var id) ? id
            : throw new FormatException($"a merge uses or produces the token '{text}', which the vocabulary lacks");
    }
}
