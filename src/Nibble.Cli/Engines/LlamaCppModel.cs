using Nibble.Formats.Gguf;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Nibble.Cli.Engines;

/// <summary>A GGUF file in llama.cpp, in this process. A failure of the native library ends the process.</summary>
/// <remarks>Declarations: ggml-org/llama.cpp, <c>include/llama.h</c>.</remarks>
internal sealed unsafe class LlamaCppModel
{
    private readonly nint library;
    private readonly nint context;
    private readonly nint memory;
    private readonly nint vocabulary;
    private readonly int batch;
    private readonly delegate* unmanaged<nint, Batch, int> decode;
    private readonly delegate* unmanaged<nint, int, float*> logits;

    private LlamaCppModel(nint library, string path, int context, int batch, int threads)
    {
        this.library = library;
        var file = Marshal.StringToCoTaskMemUTF8(path);
        var loaded = ((delegate* unmanaged<nint, Parameters, nint>)Export("llama_model_load_from_file"))(
            file, ((delegate* unmanaged<Parameters>)Export("llama_model_default_params"))());
        Marshal.FreeCoTaskMem(file);
        if (loaded == 0)
        {
            throw new NibbleException($"llama.cpp cannot load {path}{Reason(path)}");
        }

        MaxSequence = Math.Min(context, ((delegate* unmanaged<nint, int>)Export("llama_model_n_ctx_train"))(loaded));
        this.batch = Math.Min(batch, MaxSequence);
        var parameters = ((delegate* unmanaged<Parameters>)Export("llama_context_default_params"))();
        parameters.Words[0] = (uint)MaxSequence; // n_ctx
        parameters.Words[1] = (uint)this.batch; // n_batch
        parameters.Words[2] = (uint)this.batch; // n_ubatch
        this.context = ((delegate* unmanaged<nint, Parameters, nint>)Export("llama_init_from_model"))(loaded, parameters);
        if (this.context == 0)
        {
            throw new NibbleException($"llama.cpp cannot run {path} with a context of {MaxSequence} tokens{Reason(path)}");
        }

        ((delegate* unmanaged<nint, int, int, void>)Export("llama_set_n_threads"))(this.context, threads, threads);
        memory = ((delegate* unmanaged<nint, nint>)Export("llama_get_memory"))(this.context);
        vocabulary = ((delegate* unmanaged<nint, nint>)Export("llama_model_get_vocab"))(loaded);
        VocabularySize = ((delegate* unmanaged<nint, int>)Export("llama_vocab_n_tokens"))(vocabulary);
        decode = (delegate* unmanaged<nint, Batch, int>)Export("llama_decode");
        logits = (delegate* unmanaged<nint, int, float*>)Export("llama_get_logits_ith");
    }

    /// <summary>The vocabulary size.</summary>
    public int VocabularySize { get; }

    /// <summary>The context length in tokens, at most the length that the model was trained for.</summary>
    public int MaxSequence { get; }

    /// <summary>The most tokens of a batch.</summary>
    public int BatchTokens => batch;

    // GGML_LOG_LEVEL_ERROR
    private const int ErrorLevel = 4;

    /// <summary>The first error that llama.cpp logged, which names the cause; later ones say that loading failed.</summary>
    private static string firstError = string.Empty;

    /// <summary>Tokens computed since <see cref="Forget"/>.</summary>
    public int Length { get; private set; }

    /// <summary>Loads llama.cpp and a file. They are never unloaded: the process serves one file.</summary>
    /// <param name="folder">The libraries' folder.</param>
    /// <param name="path">The GGUF file.</param>
    /// <param name="context">Context length in tokens, limited to the length that the model was trained for.</param>
    /// <param name="batch">Most tokens per batch.</param>
    /// <param name="threads">Threads of the engine.</param>
    /// <exception cref="NibbleException">llama.cpp refuses the file.</exception>
    public static LlamaCppModel Load(string folder, string path, int context, int batch, int threads)
    {
        var (library, backends) = LlamaCppLibraries.Load(folder);
        ((delegate* unmanaged<delegate* unmanaged<int, nint, nint, void>, nint, void>)NativeLibrary.GetExport(library, "llama_log_set"))(&Log, 0);
        var plugins = Marshal.StringToCoTaskMemUTF8(folder);
        ((delegate* unmanaged<nint, void>)NativeLibrary.GetExport(backends, "ggml_backend_load_all_from_path"))(plugins);
        Marshal.FreeCoTaskMem(plugins);
        ((delegate* unmanaged<void>)NativeLibrary.GetExport(library, "llama_backend_init"))();
        return new LlamaCppModel(library, path, context, batch, threads);
    }

    /// <summary>Starts over with an empty cache.</summary>
    public void Forget()
    {
        ((delegate* unmanaged<nint, byte, void>)Export("llama_memory_clear"))(memory, 1);
        Length = 0;
    }

    /// <summary>Keeps the first tokens in the cache and forgets the others; all of them if the model's cache cannot do that.</summary>
    /// <param name="count">The number of tokens to keep. Afterwards, <see cref="Length"/> is this number or 0.</param>
    public void Keep(int count)
    {
        if (count == 0 || count > Length)
        {
            Forget();
            return;
        }

        // A cache of a window may have lost the first tokens, which those after them attend to.
        var removes = ((delegate* unmanaged<nint, int, int, int, byte>)Export("llama_memory_seq_rm"))(memory, 0, count, -1) != 0;
        if (removes && ((delegate* unmanaged<nint, int, int>)Export("llama_memory_seq_pos_min"))(memory, 0) == 0)
        {
            Length = count;
        }
        else
        {
            Forget();
        }
    }

    /// <summary>Computes tokens after the previous ones. Only the last one has logits afterwards.</summary>
    /// <exception cref="NibbleException">llama.cpp fails, for example because the context is full.</exception>
    public void Advance(ReadOnlySpan<int> tokens)
    {
        while (tokens.Length > batch)
        {
            Compute(tokens[..batch], batch);
            tokens = tokens[batch..];
        }

        Compute(tokens, tokens.Length - 1);
    }

    /// <summary>Computes tokens after the previous ones, in one batch. Logits are kept from the position <paramref name="first"/> of the batch.</summary>
    /// <exception cref="NibbleException">llama.cpp fails, for example because the context is full.</exception>
    public void Compute(ReadOnlySpan<int> tokens, int first)
    {
        var start = Length;
        var positions = Enumerable.Range(start, tokens.Length).ToArray();
        var counts = Enumerable.Repeat(1, tokens.Length).ToArray();
        var wanted = Enumerable.Range(0, tokens.Length).Select(i => i >= first ? (sbyte)1 : (sbyte)0).ToArray();
        var sequence = 0;
        var sequences = new nint[tokens.Length];
        Array.Fill(sequences, (nint)(&sequence));
        fixed (int* token = tokens, position = positions, count = counts)
        fixed (sbyte* wantsLogits = wanted)
        fixed (nint* sequenceIds = sequences)
        {
            var failure = decode(context,
                new Batch
                {
                    Count = tokens.Length,
                    Tokens = token,
                    Positions = position,
                    SequenceCounts = count,
                    Sequences = sequenceIds,
                    Logits = wantsLogits
                });
            if (failure != 0)
            {
                throw new NibbleException($"llama.cpp failed to compute {tokens.Length} tokens from position {start}: code {failure}");
            }
        }

        Length += tokens.Length;
    }

    /// <summary>The logits after a token of the last batch; -1 is the last token.</summary>
    public ReadOnlySpan<float> Logits(int token) => new(logits(context, token), VocabularySize);

    /// <summary>The tokens of a text, with the beginning-of-text token if the file specifies one.</summary>
    public int[] Tokenize(ReadOnlySpan<byte> text)
    {
        var export = (delegate* unmanaged<nint, byte*, int, int*, int, byte, byte, int>)Export("llama_tokenize");
        var tokens = new int[text.Length + 8];
        fixed (byte* bytes = text)
        fixed (int* destination = tokens)
        {
            var count = export(vocabulary, bytes, text.Length, destination, tokens.Length, 1, 1);
            return count >= 0 ? tokens[..count] : throw new NibbleException($"llama.cpp cannot tokenize a text of {text.Length} bytes");
        }
    }

    /// <summary>The bytes of a token's text; none for special tokens.</summary>
    public byte[] Piece(int token)
    {
        var export = (delegate* unmanaged<nint, int, byte*, int, int, byte, int>)Export("llama_token_to_piece");
        var piece = new byte[256];
        while (true)
        {
            fixed (byte* destination = piece)
            {
                var length = export(vocabulary, token, destination, piece.Length, 0, 0);
                if (length >= 0)
                {
                    return piece[..length];
                }

                piece = new byte[-length];
            }
        }
    }

    /// <summary>Whether a token ends a text.</summary>
    public bool Ends(int token) => ((delegate* unmanaged<nint, int, byte>)Export("llama_vocab_is_eog"))(vocabulary, token) != 0;

    private nint Export(string name) => NativeLibrary.GetExport(library, name);

    /// <summary>Discards llama.cpp's log, which is verbose. Failures are returned.</summary>
    [UnmanagedCallersOnly]
    private static void Log(int level, nint text, nint data)
    {
        if (level == ErrorLevel && firstError.Length == 0)
        {
            firstError = Marshal.PtrToStringUTF8(text)?.Trim() ?? string.Empty;
        }
    }

    /// <summary>Parameters that llama.cpp fills with defaults. Larger than its own structure; only the first fields have known places.</summary>
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

    /// <summary>What is wrong with a file, which llama.cpp does not report; empty if nothing is found.</summary>
    private static string Reason(string path)
    {
        try
        {
            GgufFile.Open(path).Dispose();
            return firstError.Length == 0 ? string.Empty : $": {firstError}";
        }
        catch (NibbleException exception)
        {
            return $": {exception.Message}";
        }
    }
}
