using Nibble.Formats.HuggingFace;

namespace Nibble.Formats.Gguf;

/// <summary>A GGUF file's tokenizer as the files of a checkpoint: the reverse of <see cref="GgufTokenizer"/>.</summary>
public static class GgufTokenizerFiles
{
    /// <summary>Writes the tokenizer of a file as that of a checkpoint.</summary>
    /// <param name="file">The file.</param>
    /// <param name="folder">The folder to write to, which exists.</param>
    /// <exception cref="GgufException">The metadata holds no tokenizer, one of a kind that is not supported, or one that contradicts itself.</exception>
    public static void Write(GgufFile file, string folder)
    {
        ArgumentNullException.ThrowIfNull(file);
        var texts = file.Find(GgufTokenizer.Prefix + "tokens")?.AsTexts() ?? throw Missing(file, "tokens", "a list of texts");
        var kinds = file.Find(GgufTokenizer.Prefix + "token_type")?.AsIntegers() ?? throw Missing(file, "token_type", "a list of INT32");
        if (kinds.Length != texts.Count || Array.Exists(kinds, kind => !Enum.IsDefined((PieceKind)kind)))
        {
            throw new GgufException(file.Path, 0, $"{GgufTokenizer.Prefix}token_type has {kinds.Length} numbers for {texts.Count} tokens, expected one from 1 to 6 for each");
        }

        switch (file.Find(GgufTokenizer.Prefix + "model")?.AsText())
        {
            case "llama":
                WriteSentencePiece(file, texts, kinds, Path.Combine(folder, TokenizerFiles.SentencePiece));
                break;
            case "gpt2":
                WriteBytePairs(file, texts, kinds, Path.Combine(folder, TokenizerFiles.Json));
                break;
            case var kind:
                throw new GgufException(file.Path, 0, $"{GgufTokenizer.Prefix}model is '{kind}', expected llama (SentencePiece) or gpt2 (byte-level BPE)");
        }

        CheckpointFolder.WriteJson(Path.Combine(folder, GgufTokenizer.ConfigFile), writer =>
        {
            writer.WriteStartObject();
            foreach (var key in (string[])["add_bos_token", "add_eos_token"])
            {
                if (file.Find(GgufTokenizer.Prefix + key)?.AsBool() is { } flag)
                {
                    writer.WriteBoolean(key, flag);
                }
            }

            writer.WriteEndObject();
        });
        if (file.Find(GgufTokenizer.ChatTemplateKey)?.AsText() is { } template)
        {
            AtomicFile.Write(Path.Combine(folder, GgufTokenizer.ChatTemplateFile), stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(template)));
        }
    }

    /// <summary>The id that a file names, such as <c>bos_token_id</c>; null where it names none.</summary>
    /// <exception cref="GgufException">It is no id of the vocabulary.</exception>
    public static int? SpecialId(GgufFile file, string key)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (file.Find(GgufTokenizer.Prefix + key) is not { } value)
        {
            return null;
        }

        var tokens = (file.Find(GgufTokenizer.Prefix + "tokens")?.AsTexts() ?? throw Missing(file, "tokens", "a list of texts")).Count;
        return value.AsInteger() is >= 0 and var id && id < tokens ? (int)id : throw new GgufException(file.Path, 0, $"{GgufTokenizer.Prefix}{key} is no id of the {tokens} tokens");
    }

    private static void WriteSentencePiece(GgufFile file, IReadOnlyList<string> texts, int[] kinds, string path)
    {
        var scores = file.Find(GgufTokenizer.Prefix + "scores")?.AsFloats();
        if (scores is null || scores.Length != texts.Count)
        {
            throw Missing(file, "scores", $"{texts.Count} numbers of FLOAT32, one for each token");
        }

        var unknown = SpecialId(file, "unknown_token_id") ?? Array.IndexOf(kinds, (int)PieceKind.Unknown);
        new SentencePieceModel(
            [.. texts.Select((text, id) => new Piece(text, scores[id], (PieceKind)kinds[id]))],
            file.Find(GgufTokenizer.Prefix + "add_space_prefix")?.AsBool() ?? true,
            unknown,
            SpecialId(file, "bos_token_id") ?? -1,
            SpecialId(file, "eos_token_id") ?? -1).Write(path);
    }

    private static void WriteBytePairs(GgufFile file, IReadOnlyList<string> texts, int[] kinds, string path)
    {
        var name = file.Find(GgufTokenizer.Prefix + "pre")?.AsText();
        var pattern = GgufTokenizer.PreTokenizers.FirstOrDefault(pair => pair.Value == name).Key
            ?? throw new GgufException(file.Path, 0, $"{GgufTokenizer.Prefix}pre is '{name}', expected a pre-tokenizer that Nibble knows: {string.Join(", ", GgufTokenizer.PreTokenizers.Values)}");
        var merges = file.Find(GgufTokenizer.Prefix + "merges")?.AsTexts() ?? throw Missing(file, "merges", "a list of texts");
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
                throw new GgufException(file.Path, 0, $"the token '{texts[id]}' is there twice in {GgufTokenizer.Prefix}tokens");
            }
        }

        TokenizerJson.Write(path, new BytePairModel(pattern, vocabulary, [.. merges], added));
    }

    private static GgufException Missing(GgufFile file, string key, string expected) => new(file.Path, 0, $"the metadata has no {GgufTokenizer.Prefix}{key}, or one of another kind; expected {expected}");
}
