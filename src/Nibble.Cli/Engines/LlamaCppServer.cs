using System.Globalization;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace Nibble.Cli.Engines;

/// <summary>Runs llama.cpp in a separate process, because a failure of the native library ends its process.</summary>
/// <remarks>
/// Reads requests from stdin and answers on stdout, as 32-bit numbers in the machine's byte order. It first writes the vocabulary size and the
/// context length. A request consists of its kind, the number of tokens, an argument, and the tokens.
/// </remarks>
internal sealed class LlamaCppServer
{
    /// <summary>The first argument of the program, followed by the arguments of <see cref="Run"/>.</summary>
    public const string Verb = "llama.cpp-server";

    /// <summary>Request for the logits of all positions from the argument to the last but one.</summary>
    public const int Score = 1;

    /// <summary>Request to generate tokens greedily. The argument is their number.</summary>
    public const int Continue = 2;

    /// <summary>Request for the logits after the last token. Tokens of earlier requests of this kind are kept, unless the argument is
    /// 0.</summary>
    public const int Advance = 3;

    /// <summary>Request for the tokens of a text, whose bytes are sent as tokens. The answer is their number, then the tokens.</summary>
    public const int Tokenize = 4;

    /// <summary>Request for the text of the token in the argument. The answer is 1 if the token ends a text or 0, the number of bytes, then the bytes as
    /// numbers.</summary>
    public const int Piece = 5;

    /// <summary>Request for the logits of all positions from the argument to the last, in batches. Tokens that begin as in the last request of this kind are
    /// not computed again.</summary>
    public const int Predict = 6;

    private readonly LlamaCppModel model;
    private int[] predicted = [];

    private LlamaCppServer(LlamaCppModel model) => this.model = model;

    /// <summary>Answers until stdin ends.</summary>
    /// <param name="arguments">The libraries' folder, the model's file, the context length, the tokens per batch and the threads.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        if (arguments is not [var folder, var path, var context, var batch, var threads])
        {
            return ExitCode.Usage;
        }

        EngineProcess.IgnoreSignals();
        try
        {
            var invariant = CultureInfo.InvariantCulture;
            var server = new LlamaCppServer(
                LlamaCppModel.Load(folder, path, int.Parse(context, invariant), int.Parse(batch, invariant), int.Parse(threads, invariant)));
            using var input = Console.OpenStandardInput();
            using var output = Console.OpenStandardOutput();
            server.Answer(input, output);
            return ExitCode.Done;
        }
        catch (EntryPointNotFoundException exception)
        {
            Console.Error.WriteLine(
                $"{exception.Message} This version of llama.cpp is older or newer than those that Nibble supports; the npm package @node-llama-cpp/linux-x64 "
                + $"has one that works.");
            return ExitCode.NativeLibrary;
        }
        catch (Exception exception)
        {
            var failure = Failure.Of(exception);
            Console.Error.WriteLine(failure.Message);
            return failure.ExitCode;
        }
    }

    private void Answer(Stream input, Stream output)
    {
        output.Write(AsBytes([model.VocabularySize, model.MaxSequence]));
        output.Flush();
        var head = new int[3];
        while (input.ReadAtLeast(MemoryMarshal.AsBytes(head.AsSpan()), head.Length * sizeof(int), throwOnEndOfStream: false) == head.Length * sizeof(int))
        {
            var tokens = new int[head[1]];
            input.ReadExactly(MemoryMarshal.AsBytes(tokens.AsSpan()));
            Answer(head[0], head[2], tokens, output);
            output.Flush();
        }
    }

    private void Answer(int kind, int number, int[] tokens, Stream output)
    {
        if (kind is Score or Continue or Advance)
        {
            predicted = [];
        }

        switch (kind)
        {
            case Predict:
                AnswerPrediction(tokens, number, output);
                break;
            case Score:
                model.Forget();
                model.Compute(tokens, number);
                for (var position = number; position < tokens.Length - 1; position++)
                {
                    output.Write(MemoryMarshal.AsBytes(model.Logits(position)));
                }

                break;
            case Continue:
                output.Write(AsBytes(Generate(tokens, number)));
                break;
            case Advance:
                if (number == 0)
                {
                    model.Forget();
                }

                model.Advance(tokens);
                output.Write(MemoryMarshal.AsBytes(model.Logits(-1)));
                break;
            case Tokenize:
                var found = model.Tokenize(Array.ConvertAll(tokens, value => (byte)value));
                output.Write(AsBytes([found.Length, .. found]));
                break;
            default:
                var piece = model.Piece(number);
                output.Write(AsBytes([model.Ends(number) ? 1 : 0, piece.Length, .. piece]));
                break;
        }
    }

    private void AnswerPrediction(int[] tokens, int first, Stream output)
    {
        // Positions whose logits are wanted are computed in any case.
        model.Keep(Math.Min(first, tokens.AsSpan().CommonPrefixLength(predicted)));
        predicted = tokens;
        while (model.Length < tokens.Length)
        {
            var start = model.Length;
            var piece = tokens.AsSpan(start, Math.Min(model.BatchTokens, tokens.Length - start));
            var wanted = Math.Max(0, first - start);
            model.Compute(piece, wanted);
            for (var position = wanted; position < piece.Length; position++)
            {
                output.Write(MemoryMarshal.AsBytes(model.Logits(position)));
            }
        }
    }

    private int[] Generate(int[] prompt, int count)
    {
        model.Forget();
        var written = new int[count];
        var next = prompt;
        for (var i = 0; i < count; i++)
        {
            model.Advance(next);
            written[i] = TensorPrimitives.IndexOfMax(model.Logits(-1));
            next = [written[i]];
        }

        return written;
    }

    private static ReadOnlySpan<byte> AsBytes(int[] values) => MemoryMarshal.AsBytes(values.AsSpan());
}
