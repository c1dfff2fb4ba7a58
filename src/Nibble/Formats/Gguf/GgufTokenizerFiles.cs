using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.Gguf;

/// <summary>Writes a GGUF file's tokenizer as the files of a checkpoint, the reverse of <see cref="GgufTokenizer"/>.</summary>
internal static class GgufTokenizerFiles
{
    /// <summary>Writes a file's tokenizer as that of a checkpoint, and its stop tokens if there are several.</summary>
    /// <param name="file">The file.</param>
    /// <param name="folder">The folder to write to, which must exist.</param>
    /// <exception cref="GgufException">The metadata holds no tokenizer, an unsupported one, or an inconsistent one.</exception>
    public static void Write(GgufFile file, string folder)
    {
        ArgumentNullException.ThrowIfNull(file);
        var texts = Texts(file);
        var kinds = file.Find(GgufTokenizer.Prefix + "token_type")?.AsIntegers() ?? throw Missing(file, "token_type", "a list of INT32");
        if (kinds.Length != texts.Count || Array.Exists(kinds, kind => !Enum.IsDefined((PieceKind)kind)))
        {
            throw new GgufException(
                file.Path, 0, $"{GgufTokenizer.Prefix}token_type has {kinds.Length} numbers for {texts.Count} tokens, expected one from 1 to 6 for each");
        }

        Marks marks;
        switch (file.Find(GgufTokenizer.Prefix + "model")?.AsText())
        {
            case "llama":
                marks = Marks.Read(file, addsBos: true, bos: 1);
                WriteSentencePiece(file, texts, kinds, marks, Path.Combine(folder, TokenizerFiles.SentencePiece));
                break;
            case "gpt2":
                var name = file.Find(GgufTokenizer.Prefix + "pre")?.AsText();
                var splits = GgufPreTokenizer.Find(name) ?? throw new GgufException(
                    file.Path,
                    0,
                    $"{GgufTokenizer.Prefix}pre is '{name}', expected a pre-tokenizer that Nibble knows: "
                        + $"{string.Join(", ", GgufPreTokenizer.All.SelectMany(known => known.Names))}");
                marks = Marks.Read(file, splits.AddsBos, bos: null);
                WriteBytePairs(file, texts, kinds, splits, marks, Path.Combine(folder, TokenizerFiles.Json));
                break;
            case var kind:
                throw new GgufException(file.Path, 0, $"{GgufTokenizer.Prefix}model is '{kind}', expected llama (SentencePiece) or gpt2 (byte-level BPE)");
        }

        CheckpointFolder.WriteJson(Path.Combine(folder, SpecialTokens.ConfigFile), writer =>
        {
            writer.WriteStartObject();
            writer.WriteBoolean("add_bos_token", marks.AddsBos);
            writer.WriteBoolean("add_eos_token", marks.AddsEos);
            foreach (var (key, id) in ((string, int?)[])[("bos_token", marks.Bos), ("eos_token", marks.Eos)])
            {
                if (id is { } token)
                {
                    writer.WriteString(key, texts[token]);
                }
            }

            writer.WriteEndObject();
        });
        if (file.Find(GgufTokenizer.ChatTemplateKey)?.AsText() is { } template)
        {
            AtomicFile.Write(Path.Combine(folder, GgufTokenizer.ChatTemplateFile), stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(template)));
        }

        WriteStops(file, marks, folder);
    }

    /// <summary>The token id under a key such as <c>bos_token_id</c>; null if the file does not have the key.</summary>
    /// <exception cref="GgufException">The value is not an id of the vocabulary.</exception>
    public static int? SpecialId(GgufFile file, string key)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (file.Find(GgufTokenizer.Prefix + key) is not { } value)
        {
            return null;
        }

        var tokens = Texts(file).Count;
        return value.AsInteger() is >= 0 and var id && id < tokens ? (int)id
            : throw new GgufException(file.Path, 0, $"{GgufTokenizer.Prefix}{key} is not an id of the {tokens} tokens");
    }

    private static IReadOnlyList<string> Texts(GgufFile file) => file.Find(GgufTokenizer.Prefix + "tokens")?.AsTexts()
        ?? throw Missing(file, "tokens", "a list of strings");

    private static void WriteSentencePiece(GgufFile file, IReadOnlyList<string> texts, int[] kinds, Marks marks, string path)
    {
        var scores = file.Find(GgufTokenizer.Prefix + "scores")?.AsFloats();
        if (scores is null || scores.Length != texts.Count)
        {
            throw Missing(file, "scores", $"{texts.Count} numbers of FLOAT32, one for each token");
        }

        var unknown = SpecialId(file, "unknown_token_id") ?? Array.IndexOf(kinds, (int)PieceKind.Unknown);
        new SentencePieceModel(
            [.. texts.Select((text, id) => new Piece(text, scores[id], (PieceKind)kinds[id]))],
            file.Find(GgufTokenizer.Prefix + "add_space_prefix")?.AsBool() is false ? BlankBefore.Never : BlankBefore.Always,
            unknown,
            marks.Bos ?? -1,
            marks.Eos ?? -1).Write(path);
    }

    private static void WriteBytePairs(GgufFile file, IReadOnlyList<string> texts, int[] kinds, GgufPreTokenizer splits, Marks marks, string path)
    {
        var merges = file.Find(GgufTokenizer.Prefix + "merges")?.AsTexts() ?? throw Missing(file, "merges", "a list of strings");
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        var added = new List<AddedToken>();
        for (var id = 0; id < texts.Count; id++)
        {
            if ((PieceKind)kinds[id] is PieceKind.Control or PieceKind.UserDefined)
            {
                added.Add(new AddedToken(texts[id], id, (PieceKind)kinds[id] == PieceKind.Control));
            }
            else if ((PieceKind)kinds[id] != PieceKind.Unused && !vocabulary.TryAdd(texts[id], id))
            {
                throw new GgufException(file.Path, 0, $"the token '{texts[id]}' occurs twice in {GgufTokenizer.Prefix}tokens");
            }
        }

        TokenizerJsonWriter.Write(
            path,
            new BytePairs([.. splits.Patterns.Select(pattern => new SplitStep(pattern))], vocabulary, [.. merges.Select(Pair)])
            {
                IgnoresMerges = splits.IgnoresMerges,
            },
            added,
            marks.AddsBos ? Mark(marks.Bos) : null,
            marks.AddsEos ? Mark(marks.Eos) : null);

        AddedToken? Mark(int? id) => id is { } mark ? new AddedToken(texts[mark], mark, Special: true) : null;

        (string Left, string Right) Pair(string merge) => merge.IndexOf(' ', Math.Min(1, merge.Length)) is > 0 and var cut
            ? (merge[..cut], merge[(cut + 1)..])
            : throw new GgufException(file.Path, 0, $"{GgufTokenizer.Prefix}merges contains '{merge}', expected two tokens with a space between them");
    }

    /// <summary>Writes the stop tokens if there is more than one.</summary>
    private static void WriteStops(GgufFile file, Marks marks, string folder)
    {
        var further = GgufTokenizer.FurtherStops.Select(key => SpecialId(file, key)).OfType<int>().ToList();
        if (further.Count == 0)
        {
            return;
        }

        CheckpointFolder.WriteJson(Path.Combine(folder, GenerationConfig.FileName), writer =>
        {
            writer.WriteStartObject();
            writer.WriteStartArray("eos_token_id");
            foreach (var id in further.Prepend(marks.Eos ?? further[0]).Distinct())
            {
                writer.WriteNumberValue(id);
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        });
    }

    private static GgufException Missing(GgufFile file, string key, string expected) =>
        new(file.Path, 0, $"the metadata has no {GgufTokenizer.Prefix}{key}, or one of another type; expected {expected}");

    /// <summary>The tokens that start and end text, and whether the tokenizer adds them.</summary>
    private sealed record Marks(int? Bos, int? Eos, bool AddsBos, bool AddsEos)
    {
        /// <summary>Reads the tokens.</summary>
        /// <param name="file">The file.</param>
        /// <param name="addsBos">What llama.cpp does if the file does not specify it.</param>
        /// <param name="bos">The beginning token that llama.cpp uses if the file names none.</param>
        public static Marks Read(GgufFile file, bool addsBos, int? bos)
        {
            var marks = new Marks(
                SpecialId(file, "bos_token_id"),
                SpecialId(file, "eos_token_id"),
                file.Find(GgufTokenizer.Prefix + "add_bos_token")?.AsBool() ?? addsBos,
                file.Find(GgufTokenizer.Prefix + "add_eos_token")?.AsBool() ?? false);
            marks = marks.AddsBos ? marks with { Bos = marks.Bos ?? (bos < Texts(file).Count ? bos : null) } : marks;
            return (marks.AddsBos && marks.Bos is null) || (marks.AddsEos && marks.Eos is null)
                ? throw Missing(file, marks.AddsBos && marks.Bos is null ? "bos_token_id" : "eos_token_id", "the token that is added to text")
                : marks;
        }
    }
}
