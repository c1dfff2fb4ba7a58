using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Nibble.Benchmarks;

/// <summary>Quantizes a GGUF file by llama.cpp's own quantizer, and prints seconds and the most memory it held.</summary>
internal static unsafe class LlamaCppQuantize
{
    /// <summary>Arguments: folder of llama.cpp's libraries, source, target, number of the file's type, threads.</summary>
    public static void Run(string[] arguments)
    {
        var llama = NativeLibrary.Load(Directory.EnumerateFiles(arguments[0], "libllama.*").First());
        var parameters = ((delegate* unmanaged<Parameters>)NativeLibrary.GetExport(llama, "llama_model_quantize_default_params"))();
        parameters.FileType = int.Parse(arguments[3], CultureInfo.InvariantCulture);
        parameters.Threads = int.Parse(arguments[4], CultureInfo.InvariantCulture);
        ((delegate* unmanaged<delegate* unmanaged<int, nint, nint, void>, nint, void>)NativeLibrary.GetExport(llama, "llama_log_set"))(&Silent, 0);
        var started = Stopwatch.GetTimestamp();
        var failure = ((delegate* unmanaged<nint, nint, Parameters*, uint>)NativeLibrary.GetExport(llama, "llama_model_quantize"))(
            Marshal.StringToCoTaskMemUTF8(arguments[1]), Marshal.StringToCoTaskMemUTF8(arguments[2]), &parameters);
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        using var process = Process.GetCurrentProcess();
        Console.WriteLine(failure == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{seconds:F2} s, at most {process.PeakWorkingSet64 >> 20} MiB")
            : $"llama.cpp fails with code {failure}");
    }

    [UnmanagedCallersOnly]
    private static void Silent(int level, nint text, nint data)
    {
    }

    /// <summary><c>llama_model_quantize_params</c>, of which only the beginning is known by place, with room to spare.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 256)]
    private struct Parameters
    {
        public int Threads;
        public int FileType;
    }
}
