using System.Text.Json;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.Gguf;

/// <summary>A checkpoint's tokenizer as GGUF metadata.</summary>
/// <remarks>Keys: ggml-org/ggml, <c>docs/gguf.md</c>.</remarks>
/// <param name="Metadata">The metadata.</param>
/// <param name="Notes">Differences in how llama.cpp treats text, one sentence each.</param>
internal sealed record GgufTokenizer(IReadOnlyList<KeyValuePair<string, GgufValue>> Metadata, IReadOnlyList<string> Notes)
{
    internal const string Prefix = "tokenizer.ggml.";
    internal const string ChatTemplateKey = "tokenizer.chat_template";
    internal const string ChatTemplateFile = "chat_template.jinja";

    /// <summary>Keys of tokens that stop generation, in addition to <c>eos_token_id</c>.</summary>
    internal static readonly string[] FurtherStops = ["eot_token_id", "eom_token_id"];

    /// <summary>Reads the tokenizer of a checkpoint's folder.</summary>
    /// <param name="folder">The folder. <see cref="TextTokenizer"/> must be able to load its tokenizer.</param>
    /// <param name="vocabularySize">The number of tokens in the model. Padding replaces tokens that the tokenizer lacks.</param>
    /// <exception cref="NibbleException">There is no tokenizer, or GGUF metadata cannot represent it.</exception>
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
                case var model:
                    throw new NibbleException(
                        $"{folder}: its tokenizer is {(model as ComposedModel)?.Kind ?? "WordPiece"}, which a GGUF file of a decoder cannot hold; expected "
                        + "byte-level BPE or SentencePiece.");
            }

            Marks();
            Stops();
            if (ChatTemplate(folder) is { } template)
            {
                metadata.Add(new(ChatTemplateKey, GgufValue.Of(template)));
            }

            if (tokenizer.Content.Added.FirstOrDefault(token => !token.IsPlain) is { } flagged)
            {
                notes.Add($"the token '{flagged.Text}' absorbs the spaces next to it, or matches only as a whole word (lstrip, rstrip, single_word), "
                    + "which llama.cpp does not support");
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
                notes.Add("the tokenizer removes spaces at both ends of a text and merges repeated spaces, which llama.cpp does not do: such texts get "
                    + "different tokens there");
            }
            else if (model.Model.BlankBefore == BlankBefore.First || model.Model.KeepsBlankBefore)
            {
                notes.Add("llama.cpp puts a space before every text and after every added token, the tokenizer only before a text that starts without one: "
                    + "other texts get different tokens there");
            }
        }

        /// <summary>The pieces, with scores that determine the order of merges.</summary>
        private Piece?[] Pieces(SentencePieceTokens model)
        {
            var pieces = new Piece?[vocabularySize];
            var source = model.Model.Pieces;
            if (model.Merges is { } merges)
            {
                source = SentencePieceBeside(source) ?? Scored(model, merges);
                if (model.IgnoresMerges)
                {
                    throw new NibbleException($"{place}: model.ignore_merges is true, which llama.cpp does not support for SentencePiece models.");
                }
            }

            for (var id = 0; id < source.Count; id++)
            {
                pieces[id] = source[id].Text.Length > 0 ? source[id] : null;
            }

            return pieces;
        }

        /// <summary>
        /// The pieces of a <c>tokenizer.model</c> in the same folder, with the scores from its training; null if there is no such file with the same
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

        /// <summary>The pieces with scores that reproduce a list of merges.</summary>
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
            new($"{place}: {cause.Replace("\n", "\\n", StringComparison.Ordinal)}, which the scores of a GGUF file's SentencePiece model cannot represent. The "
                + "original tokenizer.model has the scores; put it in the same folder.");

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
                notes.Add($"llama.cpp's pre-tokenizer {known.Name} does not treat combining marks as part of words, as the tokenizer's pattern does: texts in "
                    + "scripts that use them, such as Devanagari and Khmer, get different tokens there");
            }

            if (pairs.Normalization is { } form)
            {
                notes.Add($"the tokenizer {(form == NormalizationForm.C ? "composes characters" : "decomposes characters")} (NF{form}) before it splits "
                    + "text, which llama.cpp does not do: text in another form gets different tokens there");
            }
        }

        /// <summary>Finds the name of the pre-tokenizer. One that treats words that are tokens differently is acceptable only if the result is the
        /// same.</summary>
        private GgufPreTokenizer PreTokenizer(ByteLevelModel model)
        {
            var known = GgufPreTokenizer.Of(model.Pairs.Steps).ToList();
            if (known.Count == 0)
            {
                throw new NibbleException(
                    $"{place} splits text into words by {string.Join(" and then ", model.Pairs.Steps.Select(step => step.Pattern))}, for which Nibble "
                        + "knows no llama.cpp name; "
                    + $"expected the patterns of {string.Join(", ", GgufPreTokenizer.All.Select(known => known.Name))}.");
            }

            if (known[0].IgnoresMerges == model.Pairs.IgnoresMerges || model.UnreachableByMerges() is not { } token)
            {
                return known[0];
            }

            return known.Find(other => other.IgnoresMerges == model.Pairs.IgnoresMerges) ?? throw new NibbleException(
                $"{place}: model.ignore_merges is {(model.Pairs.IgnoresMerges ? "true" : "false")}, which affects tokens such as "
                    + $"'{token}', but llama.cpp does the opposite for the pre-tokenizer {known[0].Name}.");
        }

        private void Put(Piece?[] pieces, AddedToken token) => pieces[token.Id] = new Piece(
            token.Text,
            pieces[token.Id]?.Score ?? 0,
            token.Id == tokenizer.Content.Model.UnknownId && pieces[token.Id] is { Kind: PieceKind.Unknown } ? PieceKind.Unknown : token.Special
                ? PieceKind.Control : PieceKind.UserDefined);

        /// <summary>Pads the list, because models often have more rows than tokens. llama.cpp refuses files that contain a token twice.</summary>
        private Piece[] Fill(Piece?[] pieces)
        {
            Piece[] all = [.. pieces.Select((piece, id) => piece ?? new Piece($"[PAD{id}]", 0, PieceKind.Unused))];
            return all.GroupBy(piece => piece.Text, StringComparer.Ordinal).FirstOrDefault(group => group.Skip(1).Any()) is { } twice
                ? throw new NibbleException($"{place} has two tokens '{twice.Key}', which llama.cpp refuses; expected each token once.")
                : all;
        }

        /// <summary>Writes the tokens that start and end text, and whether they are added.</summary>
        private void Marks()
        {
            if (tokenizer.EndId is not null && tokenizer.EndId != tokenizer.EosId)
            {
                throw new NibbleException($"{place}: the tokenizer adds the token {tokenizer.EndId} after text but names {tokenizer.EosId} as the end of a "
                    + "sequence, and a GGUF file can hold only one of them.");
            }

            // llama.cpp adds the token under this key to the start of text.
            AddId("bos_token_id", tokenizer.StartId ?? tokenizer.BosId);
            AddId("eos_token_id", tokenizer.EosId);
            Add("add_bos_token", GgufValue.Of(tokenizer.StartId is not null));
            Add("add_eos_token", GgufValue.Of(tokenizer.EndId is not null));
        }

        /// <summary>Writes further tokens that stop generation, as far as there are keys for them.</summary>
        private void Stops()
        {
            var further = tokenizer.StopIds.Where(id => id != tokenizer.EosId && id < vocabularySize).ToList();
            foreach (var (key, id) in FurtherStops.Zip(further))
            {
                AddId(key, id);
            }

            if (further.Count > FurtherStops.Length)
            {
                notes.Add($"generation stops at {further.Count} tokens other than the end of a sequence, of which a GGUF file can hold "
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

    /// <summary>The template that turns chat messages into a prompt: a separate file, or text or the default of a list in the configuration.</summary>
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
