using System.Text.Json;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.Gguf;

/// <summary>A checkpoint's tokenizer as GGUF metadata.</summary>
/// <remarks>Keys: ggml-org/ggml, <c>docs/gguf.md</c>.</remarks>
/// <param name="Metadata">The metadata.</param>
/// <param name="Notes">What llama.cpp does otherwise with texts; a sentence each.</param>
internal sealed record GgufTokenizer(IReadOnlyList<KeyValuePair<string, GgufValue>> Metadata, IReadOnlyList<string> Notes)
{
    internal const string Prefix = "tokenizer.ggml.";
    internal const string ChatTemplateKey = "tokenizer.chat_template";
    internal const string ChatTemplateFile = "chat_template.jinja";

    /// <summary>Keys of tokens at which generation ends, beside <c>eos_token_id</c>.</summary>
    internal static readonly string[] FurtherStops = ["eot_token_id", "eom_token_id"];

    /// <summary>Reads the tokenizer of a checkpoint's folder.</summary>
    /// <param name="folder">The folder; its tokenizer is one that <see cref="TextTokenizer"/> loads.</param>
    /// <param name="vocabularySize">Tokens of the model; those that the tokenizer lacks are filled up.</param>
    /// <exception cref="NibbleException">There is no tokenizer, or one that llama.cpp cannot be told.</exception>
    public static GgufTokenizer Read(string folder, int vocabularySize)
    {
        var tokenizer = TextTokenizer.Load(folder);
        var place = TextTokenizer.FilesIn(folder).FirstOrDefault(path => Path.GetFileName(path) is TokenizerFiles.Json)
            ?? TextTokenizer.FilesIn(folder).FirstOrDefault(path => Path.GetFileName(path) is TokenizerFiles.SentencePiece) ?? folder;
        if (tokenizer.VocabularySize > vocabularySize)
        {
            throw new NibbleException($"{place} has {tokenizer.VocabularySize} tokens, expected at most the {vocabularySize} of config.json's vocab_size; "
                + "the tokenizer belongs to another model.");
        }

        var writer = new Writer(folder, place, tokenizer, vocabularySize);
        return writer.Write();
    }

    private sealed class Writer(string folder, string place, TextTokenizer tokenizer, int vocabularySize)
    {
        private readonly List<KeyValuePair<string, GgufValue>> metadata = [];
        private readonly List<string> notes = [];

        public GgufTokenizer Write()
        {
            switch (tokenizer.Content.Model)
            {
                case ByteLevelModel model:
                    BytePairs(model);
                    break;
                case SentencePieceTokens model:
                    SentencePiece(model);
                    break;
                default:
                    throw new NibbleException($"{folder}: its tokenizer is WordPiece, which has no place in a GGUF file of a decoder; expected byte-level "
                        + "BPE or SentencePiece.");
            }

            Marks();
            Stops();
            if (ChatTemplate(folder) is { } template)
            {
                metadata.Add(new(ChatTemplateKey, GgufValue.Of(template)));
            }

            if (tokenizer.Content.Added.FirstOrDefault(token => !token.IsPlain) is { } flagged)
            {
                notes.Add($"the token '{flagged.Text}' takes the blanks beside it along, or is one only between blanks (lstrip, rstrip, single_word), "
                    + "which llama.cpp does not do");
            }

            return new GgufTokenizer(metadata, notes);
        }

        private void Add(string key, GgufValue value) => metadata.Add(new(Prefix + key, value));

        private void SentencePiece(SentencePieceTokens model)
        {
            var pieces = Pieces(model);
            foreach (var token in tokenizer.Content.Added)
            {
                Put(pieces, token);
            }

            var all = Fill(pieces);
            Add("model", GgufValue.Of("llama"));
            Add("pre", GgufValue.Of("default"));
            Add("tokens", GgufValue.Of([.. all.Select(piece => piece.Text)]));
            Add("scores", GgufValue.Of(all.Select(piece => piece.Score).ToArray()));
            Add("token_type", GgufValue.Of(all.Select(piece => (int)piece.Kind).ToArray()));
            Add("add_space_prefix", GgufValue.Of(model.Model.BlankBefore != BlankBefore.Never));
            if (model.Model.UnknownId >= 0)
            {
                Add("unknown_token_id", GgufValue.Of((uint)model.Model.UnknownId));
            }

            if (model.Model.RemovesExtraBlanks)
            {
                notes.Add("the tokenizer drops blanks at both ends of a text and makes one of several, which llama.cpp does not do: such texts become "
                    + "other tokens there");
            }
            else if (model.Model.BlankBefore == BlankBefore.First || model.Model.KeepsBlankBefore)
            {
                notes.Add("llama.cpp puts a blank before every text and behind every added token, the tokenizer only before a text that begins with none: "
                    + "others become other tokens there");
            }
        }

        /// <summary>The pieces with scores that say what is merged first.</summary>
        private Piece?[] Pieces(SentencePieceTokens model)
        {
            var pieces = new Piece?[vocabularySize];
            var source = model.Model.Pieces;
            if (model.Merges is { } merges)
            {
                source = SentencePieceBeside(source) ?? Scored(model, merges);
                if (model.IgnoresMerges)
                {
                    throw new NibbleException($"{place}: model.ignore_merges is true, which llama.cpp does not do with SentencePiece models.");
                }
            }

            for (var id = 0; id < source.Count; id++)
            {
                pieces[id] = source[id].Text.Length > 0 ? source[id] : null;
            }

            return pieces;
        }

        /// <summary>
        /// The pieces of a <c>tokenizer.model</c> in the same folder, which have the scores they were trained with; null where there is none of the same
        /// pieces.
        /// </summary>
        private IReadOnlyList<Piece>? SentencePieceBeside(IReadOnlyList<Piece> pieces)
        {
            var path = Path.Combine(folder, TokenizerFiles.SentencePiece);
            var found = File.Exists(path) ? SentencePieceModel.Read(path).Pieces : null;
            return found is not null && found.Count <= pieces.Count && found.Index().All(piece => piece.Item.Text == pieces[piece.Index].Text)
                && pieces.Skip(found.Count).All(piece => piece.Text.Length == 0)
                ? found : null;
        }

        /// <summary>The pieces with scores made of a list of merges, where scores can say the same.</summary>
        private Piece[] Scored(SentencePieceTokens model, IReadOnlyList<(string Left, string Right)> merges)
        {
            var (scored, listed) = (new Dictionary<string, int>(StringComparer.Ordinal), new HashSet<(string, string)>(merges));
            var last = string.Empty;
            foreach (var (left, right) in merges)
            {
                var merged = left + right;
                if (merged != last && !scored.TryAdd(merged, scored.Count))
                {
                    throw Unscored($"'{merged}' is merged from different pairs at different places of model.merges");
                }

                last = merged;
            }

            var texts = model.Model.Pieces.Where(piece => piece.Kind == PieceKind.Normal).Select(piece => piece.Text).ToHashSet(StringComparer.Ordinal);
            foreach (var text in texts)
            {
                for (var cut = 1; cut < text.Length; cut++)
                {
                    if (texts.Contains(text[..cut]) && texts.Contains(text[cut..]) && !listed.Contains((text[..cut], text[cut..])))
                    {
                        throw Unscored($"'{text[..cut]}' and '{text[cut..]}' are not merged, though both and '{text}' are tokens");
                    }
                }
            }

            return [.. model.Model.Pieces.Select(piece => piece with { Score = scored.TryGetValue(piece.Text, out var rank) ? -1 - rank : 0 })];
        }

        private NibbleException Unscored(string cause) =>
            new($"{place}: {cause.Replace("\n", "\\n", StringComparison.Ordinal)}, which the scores of a GGUF file's SentencePiece model cannot say; the "
                + "tokenizer.model that it was made from has such scores: put it beside it.");

        private void BytePairs(ByteLevelModel model)
        {
            var pairs = model.Pairs;
            var known = PreTokenizer(model);
            var pieces = new Piece?[vocabularySize];
            foreach (var (text, id) in pairs.Vocabulary)
            {
                pieces[id] = new Piece(text, 0, PieceKind.Normal);
            }

            foreach (var token in tokenizer.Content.Added)
            {
                Put(pieces, token);
            }

            var all = Fill(pieces);
            Add("model", GgufValue.Of("gpt2"));
            Add("pre", GgufValue.Of(known.Name));
            Add("tokens", GgufValue.Of([.. all.Select(piece => piece.Text)]));
            Add("token_type", GgufValue.Of(all.Select(piece => (int)piece.Kind).ToArray()));
            Add("merges", GgufValue.Of([.. pairs.Merges.Select(merge => $"{merge.Left} {merge.Right}")]));
            if (known.LeavesMarksOut)
            {
                notes.Add($"llama.cpp's pre-tokenizer {known.Name} does not count combining marks to words, as the tokenizer's pattern does: texts in "
                    + "scripts that use them, such as Devanagari and Khmer, become other tokens there");
            }

            if (pairs.Normalization is { } form)
            {
                notes.Add($"the tokenizer {(form == NormalizationForm.C ? "composes characters" : "takes characters apart")} (NF{form}) before it splits "
                    + "a text, which llama.cpp does not do: a text in another form becomes other tokens there");
            }
        }

        /// <summary>The name of how texts are split. Of one that treats words which are tokens otherwise, only where that makes no difference.</summary>
        private GgufPreTokenizer PreTokenizer(ByteLevelModel model)
        {
            var known = GgufPreTokenizer.Of(model.Pairs.Steps).ToList();
            if (known.Count == 0)
            {
                throw new NibbleException(
                    $"{place} splits texts into words by {string.Join(" and then ", model.Pairs.Steps.Select(step => step.Pattern))}, for which llama.cpp "
                        + "has no name that Nibble knows; "
                    + $"known are the patterns of {string.Join(", ", GgufPreTokenizer.All.Select(known => known.Name))}.");
            }

            if (known[0].IgnoresMerges == model.Pairs.IgnoresMerges || model.UnreachableByMerges() is not { } token)
            {
                return known[0];
            }

            return known.Find(other => other.IgnoresMerges == model.Pairs.IgnoresMerges) ?? throw new NibbleException(
                $"{place}: model.ignore_merges is {(model.Pairs.IgnoresMerges ? "true" : "false")}, which makes a difference for tokens such as "
                    + $"'{token}', but llama.cpp does the opposite where a file names the pre-tokenizer {known[0].Name}.");
        }

        private void Put(Piece?[] pieces, AddedToken token) => pieces[token.Id] = new Piece(
            token.Text,
            pieces[token.Id]?.Score ?? 0,
            token.Id == tokenizer.Content.Model.UnknownId && pieces[token.Id] is { Kind: PieceKind.Unknown } ? PieceKind.Unknown : token.Special
                ? PieceKind.Control : PieceKind.UserDefined);

        /// <summary>Models often have more rows than tokens, so that their number divides well. llama.cpp refuses files that name two tokens alike.</summary>
        private Piece[] Fill(Piece?[] pieces)
        {
            Piece[] all = [.. pieces.Select((piece, id) => piece ?? new Piece($"[PAD{id}]", 0, PieceKind.Unused))];
            return all.GroupBy(piece => piece.Text, StringComparer.Ordinal).FirstOrDefault(group => group.Skip(1).Any()) is { } twice
                ? throw new NibbleException($"{place} has two tokens '{twice.Key}', which llama.cpp refuses; expected each once.")
                : all;
        }

        /// <summary>The tokens that begin and end a text, and whether they are put there.</summary>
        private void Marks()
        {
            if (tokenizer.EndId is not null && tokenizer.EndId != tokenizer.EosId)
            {
                throw new NibbleException($"{place}: the tokenizer puts the token {tokenizer.EndId} behind texts and calls {tokenizer.EosId} the end of a "
                    + "sequence, for which a GGUF file has one place.");
            }

            // Of the two, llama.cpp puts the one that is called so.
            AddId("bos_token_id", tokenizer.StartId ?? tokenizer.BosId);
            AddId("eos_token_id", tokenizer.EosId);
            Add("add_bos_token", GgufValue.Of(tokenizer.StartId is not null));
            Add("add_eos_token", GgufValue.Of(tokenizer.EndId is not null));
        }

        /// <summary>Further tokens at which generation ends, as far as there are places for them.</summary>
        private void Stops()
        {
            var further = tokenizer.StopIds.Where(id => id != tokenizer.EosId && id < vocabularySize).ToList();
            foreach (var (key, id) in FurtherStops.Zip(further))
            {
                AddId(key, id);
            }

            if (further.Count > FurtherStops.Length)
            {
                notes.Add($"generation ends at {further.Count} tokens beside the end of a sequence, of which a GGUF file has places for "
                    + $"{FurtherStops.Length}: {string.Join(", ", further.Skip(FurtherStops.Length))} are left out");
            }
        }

        private void AddId(string key, int? id)
        {
            if (id is { } value)
            {
                Add(key, GgufValue.Of((uint)value));
            }
        }
    }

    /// <summary>The template by which messages of a chat become a prompt: a file of its own, or a text or the list's default in the configuration.</summary>
    private static string? ChatTemplate(string folder)
    {
        var path = Path.Combine(folder, ChatTemplateFile);
        if (File.Exists(path))
        {
            InputFile.RequireRegular(path);
            return InputFile.ReadText(path);
        }

        var config = Path.Combine(folder, SpecialTokens.ConfigFile);
        using var document = File.Exists(config) ? JsonFile.ReadObject(config) : null;
        if (document is null || !document.RootElement.TryGetProperty("chat_template", out var value))
        {
            return null;
        }

        var named = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().FirstOrDefault(item => Text(item, "name") == "default") : default;
        return value.ValueKind == JsonValueKind.String ? value.GetString() : Text(named, "template");

        static string? Text(JsonElement item, string key) =>
            item.ValueKind == JsonValueKind.Object && item.TryGetProperty(key, out var text) && text.ValueKind == JsonValueKind.String ? text.GetString()
                : null;
    }
}
