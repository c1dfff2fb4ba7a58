using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Formats.Gguf;

namespace Nibble.Benchmarks;

/// <summary>Quantizes a GGUF file by llama.cpp's own quantizer, and prints seconds, with and without the flush to disk that it leaves to the system, and the
/// most memory it held.</summary>
internal static unsafe class LlamaCppQuantize
{
    /// <summary>Arguments: folder of llama.cpp's libraries, source, target, number of the file's type, threads, and an importance matrix where there is
    /// one.</summary>
    public static void Run(string[] arguments)
    {
        var llama = NativeLibrary.Load(Directory.EnumerateFiles(arguments[0], "libllama.*").First());
        var parameters = ((delegate* unmanaged<Parameters>)NativeLibrary.GetExport(llama, "llama_model_quantize_default_params"))();
        parameters.FileType = int.Parse(arguments[3], CultureInfo.InvariantCulture);
        parameters.Threads = int.Parse(arguments[4], CultureInfo.InvariantCulture);
        ((delegate* unmanaged<delegate* unmanaged<int, nint, nint, void>, nint, void>)NativeLibrary.GetExport(llama, "llama_log_set"))(&Silent, 0);
        parameters.Importance = arguments.Length > 5 ? Entries(ImportanceMatrix.Read(arguments[5])) : null;
        var started = Stopwatch.GetTimestamp();
        var failure = ((delegate* unmanaged<nint, nint, Parameters*, uint>)NativeLibrary.GetExport(llama, "llama_model_quantize"))(
            Marshal.StringToCoTaskMemUTF8(arguments[1]), Marshal.StringToCoTaskMemUTF8(arguments[2]), &parameters);
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        if (failure != 0)
        {
            Console.WriteLine($"llama.cpp fails with code {failure}");
            return;
        }

        using (var written = File.OpenHandle(arguments[2], FileMode.Open, FileAccess.ReadWrite))
        {
            RandomAccess.FlushToDisk(written);
        }

        var flushed = Stopwatch.GetElapsedTime(started).TotalSeconds;
        using var process = Process.GetCurrentProcess();
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{flushed:F2} s ({seconds:F2} s without the flush), at most {process.PeakWorkingSet64 >> 20} MiB"));
    }

    /// <summary>Means of squares in memory that is never given back; the last entry has no name.</summary>
    private static ImportanceEntry* Entries(ImportanceMatrix matrix)
    {
        var entries = (ImportanceEntry*)NativeMemory.AllocZeroed((nuint)(matrix.Entries.Count + 1), (nuint)sizeof(ImportanceEntry));
        var next = entries;
        foreach (var (name, (squares, counts)) in matrix.Entries)
        {
            var weights = (float*)NativeMemory.Alloc((nuint)squares.Length, sizeof(float));
            for (var i = 0; i < squares.Length; i++)
            {
                weights[i] = squares[i] / counts[0];
            }

            *next++ = new ImportanceEntry { Name = Marshal.StringToCoTaskMemUTF8(name), Weights = weights, Length = (nuint)squares.Length };
        }

        return entries;
    }

    [UnmanagedCallersOnly]
    private static void Silent(int level, nint text, nint data)
    {
    }

    /// <summary><c>llama_model_quantize_params</c>, of which the beginning is known by place, with room to spare.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct Parameters
    {
        [FieldOffset(0)]
        public int Threads;

        [FieldOffset(4)]
        public int FileType;

        [FieldOffset(24)]
        public ImportanceEntry* Importance;
    }

    /// <summary><c>llama_model_imatrix_data</c>.</summary>
    private struct ImportanceEntry
    {
        public nint Name;
        public float* Weights;
        public nuint Length;
    }
}
