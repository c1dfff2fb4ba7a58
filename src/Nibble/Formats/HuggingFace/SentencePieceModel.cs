using Google.Protobuf;
using Nibble.Files;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>The kind of a piece. The numbers are those of the file and of GGUF.</summary>
internal enum PieceKind
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// <summary>A token of a SentencePiece model.</summary>
internal sealed record Piece(string Text, float Score, PieceKind Kind);

/// <summary>The content of a <c>tokenizer.model</c>.</summary>
/// <remarks>Definition: google/sentencepiece, <c>src/sentencepiece_model.proto</c>.</remarks>
/// <param name="Pieces">The tokens. The index of a token is its id.</param>
/// <param name="BlankBefore">Which text gets a space before it.</param>
/// <param name="UnknownId">The id for text that no piece spells; negative if there is none.</param>
/// <param name="BosId">The id that starts text; negative if there is none.</param>
/// <param name="EosId">The id that ends text; negative if there is none.</param>
internal sealed record SentencePieceModel(IReadOnlyList<Piece> Pieces, BlankBefore BlankBefore, int UnknownId, int BosId, int EosId)
{
    /// <summary>Whether spaces at both ends are removed and repeated spaces become one.</summary>
    public bool RemovesExtraBlanks { get; init; }

    /// <summary>Whether text that starts with a space gets no other space before it.</summary>
    public bool KeepsBlankBefore { get; init; }

    // Field numbers of ModelProto, SentencePiece, TrainerSpec and NormalizerSpec.
    private const int PiecesField = 1, TrainerField = 2, NormalizerField = 3;
    private const int TextField = 1, ScoreField = 2, KindField = 3;
    private const int ModelTypeField = 3, VocabularySizeField = 4, BlankIsSuffixField = 24, ByteFallbackField = 35;
    private const int UnknownIdField = 40, BosIdField = 41, EosIdField = 42, PadIdField = 43;
    private const int UnknownTextField = 45, BosTextField = 46, EosTextField = 47;
    private const int NormalizerNameField = 1, CharactersField = 2, AddDummyPrefixField = 3, RemoveExtraBlanksField = 4, EscapeBlanksField = 5;

    // TrainerSpec.ModelType.
    private const long Unigram = 1, BytePairEncoding = 2;

    /// <summary>Reads a file.</summary>
    /// <exception cref="NibbleException">The file is not a SentencePiece model, not a BPE model, or uses an unsupported feature.</exception>
    public static SentencePieceModel Read(string path)
    {
        InputFile.RequireRegular(path);
        try
        {
            // The definition's defaults for missing values.
            var model = new SentencePieceModel([], BlankBefore.Always, UnknownId: 0, BosId: 1, EosId: 2) { RemovesExtraBlanks = true };
            var kind = Unigram;
            var pieces = new List<Piece>();
            foreach (var (field, value) in Fields(File.ReadAllBytes(path)))
            {
                switch (field)
                {
                    case PiecesField:
                        pieces.Add(ReadPiece(value.Bytes));
                        break;
                    case TrainerField:
                        (model, kind) = ReadTrainer(path, model, value.Bytes);
                        break;
                    case NormalizerField:
                        model = ReadNormalizer(path, model, value.Bytes);
                        break;
                }
            }

            return pieces.Count == 0 ? throw new NibbleException($"{path} has no pieces; expected a SentencePiece model.")
                : kind == BytePairEncoding ? model with { Pieces = pieces }
                : throw new NibbleException($"{path} is a SentencePiece model of kind "
                    + $"{kind switch { Unigram => "unigram", 3 => "word", 4 => "char", _ => kind }}; expected BPE.");
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or ArgumentException)
        {
            throw new NibbleException($"{path} is not a SentencePiece model: {exception.Message}", exception);
        }
    }

    /// <summary>Writes a file: a BPE model that changes only the spaces of text.</summary>
    public void Write(string path) => AtomicFile.Write(path, stream =>
    {
        using var output = new CodedOutputStream(stream, leaveOpen: true);
        foreach (var piece in Pieces)
        {
            WriteMessage(output, PiecesField, message =>
            {
                WriteText(message, TextField, piece.Text);
                message.WriteTag(ScoreField, WireFormat.WireType.Fixed32);
                message.WriteFloat(piece.Score);
                WriteNumber(message, KindField, (long)piece.Kind);
            });
        }

        WriteMessage(output, TrainerField, message =>
        {
            WriteNumber(message, ModelTypeField, BytePairEncoding);
            WriteNumber(message, VocabularySizeField, Pieces.Count);
            WriteNumber(message, ByteFallbackField, Pieces.Any(piece => piece.Kind == PieceKind.Byte) ? 1 : 0);
            WriteNumber(message, UnknownIdField, UnknownId);
            WriteNumber(message, BosIdField, BosId);
            WriteNumber(message, EosIdField, EosId);
            WriteNumber(message, PadIdField, -1);
            foreach (var (field, id) in ((int, int)[])[(UnknownTextField, UnknownId), (BosTextField, BosId), (EosTextField, EosId)])
            {
                if (id >= 0)
                {
                    WriteText(message, field, Pieces[id].Text);
                }
            }
        });
        WriteMessage(output, NormalizerField, message =>
        {
            WriteText(message, NormalizerNameField, "identity");
            WriteNumber(message, AddDummyPrefixField, BlankBefore == BlankBefore.Never ? 0 : 1);
            WriteNumber(message, RemoveExtraBlanksField, RemovesExtraBlanks ? 1 : 0);
            WriteNumber(message, EscapeBlanksField, 1);
        });
    });

    private static void WriteMessage(CodedOutputStream output, int field, Action<CodedOutputStream> write)
    {
        using var bytes = new MemoryStream();
        using (var message = new CodedOutputStream(bytes, leaveOpen: true))
        {
            write(message);
        }

        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        output.WriteBytes(ByteString.CopyFrom(bytes.ToArray()));
    }

    private static void WriteText(CodedOutputStream output, int field, string text)
    {
        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        output.WriteString(text);
    }

    private static void WriteNumber(CodedOutputStream output, int field, long number)
    {
        output.WriteTag(field, WireFormat.WireType.Varint);
        output.WriteInt64(number);
    }

    private static (SentencePieceModel Model, long Kind) ReadTrainer(string path, SentencePieceModel model, byte[] bytes)
    {
        var kind = Unigram;
        foreach (var (field, value) in Fields(bytes))
        {
            switch (field)
            {
                case ModelTypeField:
                    kind = value.Number;
                    break;
                case UnknownIdField:
                    model = model with { UnknownId = (int)value.Number };
                    break;
                case BosIdField:
                    model = model with { BosId = (int)value.Number };
                    break;
                case EosIdField:
                    model = model with { EosId = (int)value.Number };
                    break;
                case BlankIsSuffixField when value.Number != 0:
                    throw new NibbleException($"{path}: treat_whitespace_as_suffix is true, so words end in spaces, which is not supported.");
            }
        }

        return (model, kind);
    }

    private static SentencePieceModel ReadNormalizer(string path, SentencePieceModel model, byte[] bytes)
    {
        var name = string.Empty;
        foreach (var (field, value) in Fields(bytes))
        {
            switch (field)
            {
                case NormalizerNameField:
                    name = System.Text.Encoding.UTF8.GetString(value.Bytes);
                    break;
                case CharactersField when value.Bytes.Length > 0:
                    throw new NibbleException($"{path}: its normalizer '{name}' rewrites characters (precompiled_charsmap of {value.Bytes.Length:N0} "
                        + "bytes), which is not supported; expected the normalizer identity.");
                case AddDummyPrefixField:
                    model = model with { BlankBefore = value.Number != 0 ? BlankBefore.Always : BlankBefore.Never };
                    break;
                case RemoveExtraBlanksField:
                    model = model with { RemovesExtraBlanks = value.Number != 0 };
                    break;
                case EscapeBlanksField when value.Number == 0:
                    throw new NibbleException($"{path}: escape_whitespaces is false, so pieces contain spaces, which is not supported.");
            }
        }

        return model;
    }

    private static Piece ReadPiece(byte[] bytes)
    {
        var piece = new Piece(string.Empty, 0, PieceKind.Normal);
        foreach (var (field, value) in Fields(bytes))
        {
            piece = field switch
            {
                TextField => piece with { Text = System.Text.Encoding.UTF8.GetString(value.Bytes) },
                ScoreField => piece with { Score = BitConverter.UInt32BitsToSingle((uint)value.Number) },
                KindField => piece with
                {
                    Kind = Enum.IsDefined((PieceKind)value.Number) ? (PieceKind)value.Number
                    : throw new ArgumentException($"a piece has the kind {value.Number}, expected 1 to 6", nameof(bytes))
                },
                _ => piece,
            };
        }

        return piece;
    }

    private static IEnumerable<(int Field, (long Number, byte[] Bytes) Value)> Fields(byte[] message)
    {
        using var input = new CodedInputStream(message);
        while (input.ReadTag() is not 0 and var tag)
        {
            var field = WireFormat.GetTagFieldNumber(tag);
            switch (WireFormat.GetTagWireType(tag))
            {
                case WireFormat.WireType.Varint:
                    yield return (field, (input.ReadInt64(), []));
                    break;
                case WireFormat.WireType.Fixed32:
                    yield return (field, (input.ReadFixed32(), []));
                    break;
                case WireFormat.WireType.LengthDelimited:
                    yield return (field, (0, input.ReadBytes().ToByteArray()));
                    break;
                default:
                    input.SkipLastField();
                    break;
            }
        }
    }
}
