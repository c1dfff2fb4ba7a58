using Google.Protobuf;

namespace Nibble.Formats.HuggingFace;

/// <summary>What kind of token a piece is; the numbers are those of the file, and GGUF's.</summary>
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

/// <summary>What a <c>tokenizer.model</c> holds.</summary>
/// <remarks>Definition: google/sentencepiece, <c>src/sentencepiece_model.proto</c>.</remarks>
internal sealed record SentencePieceModel(IReadOnlyList<Piece> Pieces, bool AddsSpace, int UnknownId, int BosId, int EosId)
{
    // Field numbers of ModelProto, SentencePiece, TrainerSpec and NormalizerSpec.
    private const int PiecesField = 1, TrainerField = 2, NormalizerField = 3;
    private const int TextField = 1, ScoreField = 2, KindField = 3;
    private const int ModelTypeField = 3, VocabularySizeField = 4, ByteFallbackField = 35;
    private const int UnknownIdField = 40, BosIdField = 41, EosIdField = 42, PadIdField = 43;
    private const int UnknownTextField = 45, BosTextField = 46, EosTextField = 47;
    private const int NormalizerNameField = 1, AddDummyPrefixField = 3, RemoveExtraBlanksField = 4, EscapeBlanksField = 5;

    // TrainerSpec.ModelType.BPE.
    private const long BytePairEncoding = 2;

    /// <summary>Reads a file.</summary>
    /// <exception cref="NibbleException">The file is not a SentencePiece model.</exception>
    public static SentencePieceModel Read(string path)
    {
        InputFile.RequireRegular(path);
        try
        {
            var model = new SentencePieceModel([], AddsSpace: true, UnknownId: 0, BosId: 1, EosId: 2);
            var pieces = new List<Piece>();
            foreach (var (field, value) in Fields(File.ReadAllBytes(path)))
            {
                switch (field)
                {
                    case PiecesField:
                        pieces.Add(ReadPiece(value.Bytes));
                        break;
                    case TrainerField:
                        model = ReadTrainer(model, value.Bytes);
                        break;
                    case NormalizerField:
                        model = Fields(value.Bytes).Aggregate(model, (read, item) => item.Field == AddDummyPrefixField ? read with { AddsSpace = item.Value.Number != 0 } : read);
                        break;
                }
            }

            return pieces.Count > 0 ? model with { Pieces = pieces } : throw new NibbleException($"{path} holds no pieces; expected a SentencePiece model.");
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or ArgumentException)
        {
            throw new NibbleException($"{path} is not a SentencePiece model: {exception.Message}", exception);
        }
    }

    /// <summary>Writes a file: a BPE model that changes nothing of a text but its blanks.</summary>
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
            WriteNumber(message, AddDummyPrefixField, AddsSpace ? 1 : 0);
            WriteNumber(message, RemoveExtraBlanksField, 0);
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

    private static SentencePieceModel ReadTrainer(SentencePieceModel model, byte[] bytes)
    {
        foreach (var (field, value) in Fields(bytes))
        {
            model = field switch
            {
                UnknownIdField => model with { UnknownId = (int)value.Number },
                BosIdField => model with { BosId = (int)value.Number },
                EosIdField => model with { EosId = (int)value.Number },
                _ => model,
            };
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
                KindField => piece with { Kind = Enum.IsDefined((PieceKind)value.Number) ? (PieceKind)value.Number : throw new ArgumentException($"a piece is of kind {value.Number}, expected 1 to 6", nameof(bytes)) },
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
