using System.Globalization;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace Nibble.Cli.Engines;

/// <summary>Computes with llama.cpp in a process of its own, since a native library that fails ends its process.</summary>
/// <remarks>
/// Reads requests from stdin and answers on stdout, numbers of 32 bits in the machine's order. It begins with the sizes of the vocabulary and the
/// context. A request is its kind, the number of tokens, a number, and the tokens.
/// </remarks>
internal sealed class LlamaCppServer
{
    /// <summary>What the program is started with, followed by the arguments of <see cref="Run"/>.</summary>
    public const string Verb = "llama.cpp-server";

    /// <summary>The request for the logits of all positions from one, the number, to the last but one.</summary>
    public const int Score = 1;

    /// <summary>The request for the tokens that are likeliest, one after the other; the number is how many.</summary>
    public const int Continue = 2;

    /// <summary>The request for the logits behind the last token, those of requests of this kind before remembered; the number is 0 to forget them
    /// first.</summary>
    public const int Advance = 3;

    /// <summary>The request for the tokens of a text, whose bytes stand in the place of tokens; answered by how many they are, and they.</summary>
    public const int Tokenize = 4;

    /// <summary>The request for the text of a token, the number; answered by 1 where it ends texts and 0 elsewhere, how many bytes it has, and they, a number
    /// each.</summary>
    public const int Piece = 5;

    private readonly LlamaCppModel model;

    private LlamaCppServer(LlamaCppModel model) => this.model = model;

    /// <summary>Answers until stdin ends.</summary>
    /// <param name="arguments">The libraries' folder, the model's file, the tokens of a context, those computed at once, the threads.</param>
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
                $"{exception.Message} This llama.cpp is older or newer than those that Nibble was tried with; the npm package @node-llama-cpp/linux-x64 holds "
                + $"one that fits.");
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
        switch (kind)
        {
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
