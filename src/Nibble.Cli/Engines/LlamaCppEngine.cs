using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Nibble.Cli.Engines;

/// <summary>A GGUF file that llama.cpp runs in a child process, with the tokenizer in the file.</summary>
internal sealed class LlamaCppEngine : IDecoderEngine, ITextCoder
{
    /// <summary>The engine's name on command lines.</summary>
    public const string EngineName = "llama.cpp";

    private readonly Process process;
    private readonly Task<string> errors;
    private readonly Dictionary<int, (bool Ends, byte[] Bytes)> pieces = [];
    private readonly Decoder characters = Encoding.UTF8.GetDecoder();
    private int length;

    private LlamaCppEngine(Process process)
    {
        this.process = process;
        errors = process.StandardError.ReadToEndAsync();
        var sizes = ReadNumbers(2);
        (VocabularySize, MaxSequence) = (sizes[0], sizes[1]);
    }

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public int MaxSequence { get; }

    /// <summary>Loads a file.</summary>
    /// <param name="libraries">The folder of llama.cpp's shared libraries.</param>
    /// <param name="model">The GGUF file.</param>
    /// <param name="context">Context length in tokens.</param>
    /// <param name="threads">Threads of the engine.</param>
    /// <param name="batch">Tokens per batch. <see cref="Score"/> needs a batch as large as its window.</param>
    /// <exception cref="NibbleException">The engine refuses the file or exits.</exception>
    public static LlamaCppEngine Start(string libraries, string model, int context, int threads, int? batch = null)
    {
        string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
        var process = EngineProcess.Start(LlamaCppServer.Verb, libraries, model, Text(context), Text(batch ?? context), Text(threads));
        try
        {
            return new LlamaCppEngine(process);
        }
        catch
        {
            EngineProcess.End(process);
            throw;
        }
    }

    /// <inheritdoc/>
    public float[] Score(ReadOnlySpan<int> tokens, int first)
    {
        Request(LlamaCppServer.Score, first, tokens);
        length = 0;
        return ReadLogits(tokens.Length - first - 1);
    }

    /// <inheritdoc/>
    public float[] Predict(ReadOnlySpan<int> tokens, int first)
    {
        Request(LlamaCppServer.Predict, first, tokens);
        length = 0;
        return ReadLogits(tokens.Length - first);
    }

    /// <inheritdoc/>
    public int[] Continue(ReadOnlySpan<int> prompt, int count)
    {
        Request(LlamaCppServer.Continue, count, prompt);
        length = 0;
        return ReadNumbers(count);
    }

    /// <inheritdoc/>
    public float[] Advance(ReadOnlySpan<int> tokens)
    {
        Request(LlamaCppServer.Advance, length, tokens);
        length += tokens.Length;
        return ReadLogits(1);
    }

    /// <inheritdoc/>
    public int[] Encode(string prompt)
    {
        characters.Reset();
        Request(LlamaCppServer.Tokenize, 0, Array.ConvertAll(Encoding.UTF8.GetBytes(prompt), value => (int)value));
        return ReadNumbers(ReadNumbers(1)[0]);
    }

    /// <inheritdoc/>
    public bool Ends(int token) => Piece(token).Ends;

    /// <inheritdoc/>
    public string Append(int token) => Decode(Piece(token).Bytes, flush: false);

    /// <inheritdoc/>
    public string Rest() => Decode([], flush: true);

    /// <inheritdoc/>
    public void Dispose() => EngineProcess.End(process);

    private (bool Ends, byte[] Bytes) Piece(int token)
    {
        if (!pieces.TryGetValue(token, out var piece))
        {
            Request(LlamaCppServer.Piece, token, []);
            var head = ReadNumbers(2);
            piece = (head[0] == 1, Array.ConvertAll(ReadNumbers(head[1]), value => (byte)value));
            pieces.Add(token, piece);
        }

        return piece;
    }

    private string Decode(byte[] bytes, bool flush)
    {
        var text = new char[characters.GetCharCount(bytes, flush)];
        characters.GetChars(bytes, text, flush);
        return new string(text);
    }

    private void Request(int kind, int number, ReadOnlySpan<int> tokens)
    {
        try
        {
            var stream = process.StandardInput.BaseStream;
            stream.Write(MemoryMarshal.AsBytes<int>([kind, tokens.Length, number]));
            stream.Write(MemoryMarshal.AsBytes(tokens));
            stream.Flush();
        }
        catch (IOException exception)
        {
            throw Failure(exception);
        }
    }

    private float[] ReadLogits(int positions)
    {
        var logits = new float[positions * VocabularySize];
        Read(MemoryMarshal.AsBytes(logits.AsSpan()));
        return logits;
    }

    private int[] ReadNumbers(int count)
    {
        var numbers = new int[count];
        Read(MemoryMarshal.AsBytes(numbers.AsSpan()));
        return numbers;
    }

    private void Read(Span<byte> answer)
    {
        if (process.StandardOutput.BaseStream.ReadAtLeast(answer, answer.Length, throwOnEndOfStream: false) < answer.Length)
        {
            throw Failure(null);
        }
    }

    private NibbleException Failure(Exception? cause)
    {
        process.WaitForExit();
        var message = errors.Result.Trim();
        return process.ExitCode == ExitCode.NativeLibrary ? new NativeLibraryException(message, cause!)
            : new NibbleException($"llama.cpp exited with code {process.ExitCode}{(message.Length > 0 ? ": " + message : string.Empty)}", cause!);
    }
}
