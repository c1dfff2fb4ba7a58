using Google.Protobuf;
using Nibble.Files;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>Determines the type of a folder's tokenizer and reads it.</summary>
internal static class TokenizerLoader
{
    private const string Supported =
        "Nibble supports tokenizer.json (byte-level BPE as in GPT-2, Llama 3 and Qwen, SentencePiece BPE as in Llama 2, WordPiece as in BERT), "
            + "tokenizer.model (SentencePiece BPE) and vocab.txt (WordPiece).";

    private static readonly string[] BertTokens = ["[CLS]", "[MASK]", "[PAD]", "[SEP]", "[UNK]"];

    /// <summary>Reads a folder's tokenizer, with all its added tokens and the tokens that it adds around text.</summary>
    /// <exception cref="NibbleException">The folder has no tokenizer, or a broken or unsupported one.</exception>
    public static (TokenizerContent Content, SpecialTokens Special) Load(string folder)
    {
        var json = Path.Combine(folder, TokenizerFiles.Json);
        var model = Path.Combine(folder, TokenizerFiles.SentencePiece);
        var vocabulary = Path.Combine(folder, TokenizerFiles.Vocabulary);
        var content = File.Exists(json) ? TokenizerJson.Read(json)
            : File.Exists(model) ? SentencePiece(model)
            : File.Exists(vocabulary) ? WordPiece(folder, vocabulary)
            : throw new NibbleException($"The folder {folder} has no tokenizer. {Supported}");
        content = content with { Added = SpecialTokens.Added(folder, content, isWhole: File.Exists(json)) };
        return (content, SpecialTokens.Find(folder, content));
    }

    private static TokenizerContent SentencePiece(string path)
    {
        InputFile.RequireRegular(path);
        if (InputFile.Length(path) == 0)
        {
            throw new NibbleException($"{path} is empty. {Supported}");
        }

        try
        {
            // Unlike SentencePiece, other readers recognize marker pieces anywhere in the text.
            var model = SentencePieceModel.Read(path);
            var marks = model.Pieces.Index().Where(piece => piece.Item.Kind is PieceKind.Control or PieceKind.Unknown && piece.Item.Text.Length > 0);
            return new TokenizerContent(new SentencePieceTokens(model, merges: null),
                [.. marks.Select(piece => new AddedToken(piece.Item.Text, piece.Index, Special: true))], Template: null);
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or FormatException)
        {
            throw new NibbleException($"{path} cannot be read as a SentencePiece BPE model: {exception.Message} {Supported}", exception);
        }
    }

    private static TokenizerContent WordPiece(string folder, string path)
    {
        InputFile.RequireRegular(path);
        string[] tokens = [.. InputFile.ReadLines(path)];
        var config = Path.Combine(folder, SpecialTokens.ConfigFile);
        using var document = File.Exists(config) ? JsonFile.ReadObject(config) : null;
        var said = document is null ? default(Node?) : new Node(config, string.Empty, document.RootElement);

        // If no file specifies it, the vocabulary does: a lower-case vocabulary has no capitals.
        var lowers = said?.Flag("do_lower_case") ?? !tokens.Any(token => !BertTokens.Contains(token) && token.Any(char.IsAsciiLetterUpper));
        const int longest = 100;
        var model = new WordPieceTokens(
            path,
            tokens,
            new BertNormalization(lowers, said?.Flag("strip_accents") ?? lowers) { SetsIdeographsApart = said?.Flag("tokenize_chinese_chars") is not false },
            said?.Text("unk_token") ?? "[UNK]",
            longest);
        return new TokenizerContent(model, [.. BertTokens.Where(token => model.IdOf(token) is not null)
            .Select(token => new AddedToken(token, model.IdOf(token)!.Value, Special: true))], Template: null);
    }
}
