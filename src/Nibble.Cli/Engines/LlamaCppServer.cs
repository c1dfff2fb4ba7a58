using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Nibble.Cli.Engines;

/// <summary>Computes with llama.cpp in a process of its own, since a native library that fails ends its process.</summary>
/// <remarks>
/// Reads requests from stdin and answers on stdout, numbers of 32 bits in the machine's order. It begins with the size of the vocabulary.
/// A request is its kind, the number of tokens, a number, and the tokens: <see cref="Score"/> (the number is the first position) is
/// answered by the logits of all positions from there to the last but one; <see cref="Continue"/> (the number is that of new tokens)
/// by the tokens that are likeliest, one after the other. Declarations: ggml-org/llama.cpp, <c>include/llama.h</c>.
/// </remarks>
internal sealed unsafe class LlamaCppServer
{
    /// <summary>What the program is started with, followed by the arguments of <see cref="Run"/>.</summary>
    public const string Verb = "llama.cpp-server";

    /// <summary>The request for logits.</summary>
    public const int Score = 1;

    /// <summary>The request for a continuation.</summary>
    public const int Continue = 2;

    private readonly nint _context;
    private readonly nint _memory;
    private readonly int _vocabulary;
    private readonly delegate* unmanaged<nint, Batch, int> _decode;
    private readonly delegate* unmanaged<nint, int, float*> _logits;
    private readonly delegate* unmanaged<nint, byte, void> _clear;

    private LlamaCppServer(nint library, string model, int context, int threads)
    {
        var file = Marshal.StringToCoTaskMemUTF8(model);
        var loaded = ((delegate* unmanaged<nint, Parameters, nint>)Export(library, "llama_model_load_from_file"))(file, ((delegate* unmanaged<Parameters>)Export(library, "llama_model_default_params"))());
        Marshal.FreeCoTaskMem(file);
        if (loaded == 0)
        {
            throw new NibbleException($"llama.cpp cannot load {model}");
        }

        var parameters = ((delegate* unmanaged<Parameters>)Export(library, "llama_context_default_params"))();
        parameters.Words[0] = (uint)context; // n_ctx
        parameters.Words[1] = (uint)context; // n_batch
        parameters.Words[2] = (uint)context; // n_ubatch
        _context = ((delegate* unmanaged<nint, Parameters, nint>)Export(library, "llama_init_from_model"))(loaded, parameters);
        if (_context == 0)
        {
            throw new NibbleException($"llama.cpp cannot run {model} with a context of {context} tokens");
        }

        ((delegate* unmanaged<nint, int, int, void>)Export(library, "llama_set_n_threads"))(_context, threads, threads);
        _memory = ((delegate* unmanaged<nint, nint>)Export(library, "llama_get_memory"))(_context);
        var vocabulary = ((delegate* unmanaged<nint, nint>)Export(library, "llama_model_get_vocab"))(loaded);
        _vocabulary = ((delegate* unmanaged<nint, int>)Export(library, "llama_vocab_n_tokens"))(vocabulary);
        _decode = (delegate* unmanaged<nint, Batch, int>)Export(library, "llama_decode");
        _logits = (delegate* unmanaged<nint, int, float*>)Export(library, "llama_get_logits_ith");
        _clear = (delegate* unmanaged<nint, byte, void>)Export(library, "llama_memory_clear");
    }

    /// <summary>Answers until stdin ends.</summary>
    /// <param name="arguments">The libraries' folder, the model's file, the tokens of a context, the threads.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        if (arguments is not [var folder, var model, var context, var threads])
        {
            return ExitCode.Usage;
        }

        try
        {
            var (library, backends) = LlamaCppLibraries.Load(folder);
            ((delegate* unmanaged<delegate* unmanaged<int, nint, nint, void>, nint, void>)Export(library, "llama_log_set"))(&Log, 0);
            var path = Marshal.StringToCoTaskMemUTF8(folder);
            ((delegate* unmanaged<nint, void>)Export(backends, "ggml_backend_load_all_from_path"))(path);
            Marshal.FreeCoTaskMem(path);
            ((delegate* unmanaged<void>)Export(library, "llama_backend_init"))();
            var invariant = System.Globalization.CultureInfo.InvariantCulture;
            var server = new LlamaCppServer(library, model, int.Parse(context, invariant), int.Parse(threads, invariant));
            using var input = Console.OpenStandardInput();
            using var output = Console.OpenStandardOutput();
            server.Answer(input, output);
            return ExitCode.Done;
        }
        catch (Exception exception) when (exception is NibbleException or DllNotFoundException or EntryPointNotFoundException)
        {
            Console.Error.WriteLine(exception.Message);
            return ExitCode.BadInput;
        }
    }

    private void Answer(Stream input, Stream output)
    {
        output.Write(AsBytes([_vocabulary]));
        output.Flush();
        var head = new int[3];
        while (input.ReadAtLeast(MemoryMarshal.AsBytes(head.AsSpan()), head.Length * sizeof(int), throwOnEndOfStream: false) == head.Length * sizeof(int))
        {
            var tokens = new int[head[1]];
            input.ReadExactly(MemoryMarshal.AsBytes(tokens.AsSpan()));
            _clear(_memory, 1);
            if (head[0] == Score)
            {
                Decode(tokens, 0, head[2]);
                for (var position = head[2]; position < tokens.Length - 1; position++)
                {
                    output.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<float>(_logits(_context, position), _vocabulary)));
                }
            }
            else
            {
                output.Write(AsBytes(Generate(tokens, head[2])));
            }

            output.Flush();
        }
    }

    private int[] Generate(int[] prompt, int count)
    {
        var written = new int[count];
        var (next, position) = (prompt, 0);
        for (var i = 0; i < count; i++)
        {
            Decode(next, position, next.Length - 1);
            position += next.Length;
            var logits = new ReadOnlySpan<float>(_logits(_context, -1), _vocabulary);
            written[i] = IndexOfMax(logits);
            next = [written[i]];
        }

        return written;
    }

    private static int IndexOfMax(ReadOnlySpan<float> values)
    {
        var best = 0;
        for (var i = 1; i < values.Length; i++)
        {
            best = values[i] > values[best] ? i : best;
        }

        return best;
    }

    /// <summary>Computes tokens; logits are kept from a position on.</summary>
    private void Decode(int[] tokens, int start, int first)
    {
        var positions = Enumerable.Range(start, tokens.Length).ToArray();
        var counts = Enumerable.Repeat(1, tokens.Length).ToArray();
        var wanted = Enumerable.Range(0, tokens.Length).Select(i => i >= first ? (sbyte)1 : (sbyte)0).ToArray();
        var sequence = 0;
        var sequences = new nint[tokens.Length];
        Array.Fill(sequences, (nint)(&sequence));
        fixed (int* token = tokens, position = positions, count = counts)
        fixed (sbyte* logits = wanted)
        fixed (nint* sequenceIds = sequences)
        {
            var failure = _decode(_context, new Batch { Count = tokens.Length, Tokens = token, Positions = position, SequenceCounts = count, Sequences = sequenceIds, Logits = logits });
            if (failure != 0)
            {
                throw new NibbleException($"llama.cpp fails to compute {tokens.Length} tokens from position {start} on: code {failure}");
            }
        }
    }

    private static ReadOnlySpan<byte> AsBytes(int[] values) => MemoryMarshal.AsBytes(values.AsSpan());

    private static nint Export(nint library, string name) => NativeLibrary.GetExport(library, name);

    /// <summary>llama.cpp tells much about loading; what matters comes back as a failure.</summary>
    [UnmanagedCallersOnly]
    private static void Log(int level, nint text, nint data)
    {
    }

    /// <summary>Parameters that llama.cpp fills with defaults; larger than its own, of which only those at the beginning are known by place.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Parameters
    {
        public Words Words;
    }

    [InlineArray(Length)]
    private struct Words
    {
        private const int Length = 128;
        private uint first;
    }

    /// <summary><c>llama_batch</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Batch
    {
        public int Count;
        public int* Tokens;
        public float* Embeddings;
        public int* Positions;
        public int* SequenceCounts;
        public nint* Sequences;
        public sbyte* Logits;
    }
}
