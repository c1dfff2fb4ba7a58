using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Nibble.Cli.Engines;

/// <summary>A GGUF file that llama.cpp computes in a child process.</summary>
internal sealed class LlamaCppEngine : IDecoderEngine
{
    private readonly Process _process;
    private readonly Task<string> _errors;

    private LlamaCppEngine(Process process)
    {
        _process = process;
        _errors = process.StandardError.ReadToEndAsync();
        var size = new int[1];
        Read(MemoryMarshal.AsBytes(size.AsSpan()));
        VocabularySize = size[0];
    }

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <summary>Loads a file.</summary>
    /// <param name="libraries">The folder of llama.cpp's shared libraries.</param>
    /// <param name="model">The GGUF file.</param>
    /// <param name="context">Tokens that are computed at once.</param>
    /// <param name="threads">Threads of the engine.</param>
    /// <exception cref="NibbleException">The engine refuses the file or ends.</exception>
    public static LlamaCppEngine Start(string libraries, string model, int context, int threads)
    {
        var program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "Nibble.Cli.exe" : "Nibble.Cli");
        var start = new ProcessStartInfo(program, [LlamaCppServer.Verb, libraries, model, context.ToString(CultureInfo.InvariantCulture), threads.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // The launcher looks for .NET by itself, and need not find the one that this process runs on.
        start.Environment["DOTNET_ROOT"] = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
        var process = Process.Start(start) ?? throw new NibbleException($"{program} does not start");
        try
        {
            return new LlamaCppEngine(process);
        }
        catch
        {
            End(process);
            throw;
        }
    }

    /// <inheritdoc/>
    public float[] Score(ReadOnlySpan<int> tokens, int first)
    {
        Request(LlamaCppServer.Score, first, tokens);
        var logits = new float[(tokens.Length - first - 1) * VocabularySize];
        Read(MemoryMarshal.AsBytes(logits.AsSpan()));
        return logits;
    }

    /// <inheritdoc/>
    public int[] Continue(ReadOnlySpan<int> prompt, int count)
    {
        Request(LlamaCppServer.Continue, count, prompt);
        var tokens = new int[count];
        Read(MemoryMarshal.AsBytes(tokens.AsSpan()));
        return tokens;
    }

    /// <inheritdoc/>
    public void Dispose() => End(_process);

    private static void End(Process process)
    {
        process.StandardInput.Close();
        if (!process.WaitForExit(TimeSpan.FromSeconds(10)))
        {
            process.Kill();
        }

        process.Dispose();
    }

    private void Request(int kind, int number, ReadOnlySpan<int> tokens)
    {
        try
        {
            var stream = _process.StandardInput.BaseStream;
            stream.Write(MemoryMarshal.AsBytes<int>([kind, tokens.Length, number]));
            stream.Write(MemoryMarshal.AsBytes(tokens));
            stream.Flush();
        }
        catch (IOException exception)
        {
            throw Failure(exception);
        }
    }

    private void Read(Span<byte> answer)
    {
        if (_process.StandardOutput.BaseStream.ReadAtLeast(answer, answer.Length, throwOnEndOfStream: false) < answer.Length)
        {
            throw Failure(null);
        }
    }

    private NibbleException Failure(Exception? cause)
    {
        _process.WaitForExit();
        var message = _errors.Result.Trim();
        return new NibbleException($"llama.cpp ended with code {_process.ExitCode}{(message.Length > 0 ? ": " + message : string.Empty)}", cause!);
    }
}
