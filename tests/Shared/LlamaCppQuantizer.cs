using System.Runtime.InteropServices;

namespace Nibble.Tests.Shared;

/// <summary>Quantizes GGUF files by llama.cpp's own quantizer, in this process.</summary>
internal static unsafe class LlamaCppQuantizer
{
    /// <summary>Quantizes a file; skips the running test where the libraries are not installed.</summary>
    /// <param name="source">A GGUF file.</param>
    /// <param name="target">The file to write.</param>
    /// <param name="fileType">The number of what it is to become (<c>llama_ftype</c>).</param>
    /// <param name="importance">The weights of the columns of matrices by name; null for none.</param>
    public static void Run(string source, string target, uint fileType, IReadOnlyDictionary<string, float[]>? importance = null)
    {
        var folder = LlamaCpp.RequireFolder();
        var backends = NativeLibrary.Load(Directory.EnumerateFiles(folder, "libggml.*").First());
        var llama = NativeLibrary.Load(Directory.EnumerateFiles(folder, "libllama.*").First());
        ((delegate* unmanaged<delegate* unmanaged<int, nint, nint, void>, nint, void>)NativeLibrary.GetExport(llama, "llama_log_set"))(&Silent, 0);
        ((delegate* unmanaged<nint, void>)NativeLibrary.GetExport(backends, "ggml_backend_load_all_from_path"))(Marshal.StringToCoTaskMemUTF8(folder));
        var parameters = ((delegate* unmanaged<Parameters>)NativeLibrary.GetExport(llama, "llama_model_quantize_default_params"))();
        parameters.Threads = 1;
        parameters.FileType = fileType;

        // The list ends with an entry that has no name.
        var entries = new Importance[(importance?.Count ?? 0) + 1];
        var pins = new List<GCHandle>();
        foreach (var (name, weights) in importance ?? new Dictionary<string, float[]>())
        {
            var pin = GCHandle.Alloc(weights, GCHandleType.Pinned);
            entries[pins.Count] = new Importance { Name = Marshal.StringToCoTaskMemUTF8(name), Data = pin.AddrOfPinnedObject(), Size = (nuint)weights.Length };
            pins.Add(pin);
        }

        fixed (Importance* list = entries)
        {
            parameters.Importance = importance is null ? 0 : (nint)list;
            var failure = ((delegate* unmanaged<nint, nint, Parameters*, uint>)NativeLibrary.GetExport(llama, "llama_model_quantize"))(
                Marshal.StringToCoTaskMemUTF8(source), Marshal.StringToCoTaskMemUTF8(target), &parameters);
            pins.ForEach(pin => pin.Free());
            Assert.Equal(0u, failure);
        }
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
        public uint FileType;

        [FieldOffset(24)]
        public nint Importance;
    }

    /// <summary><c>llama_model_imatrix_data</c>.</summary>
    private struct Importance
    {
        public nint Name;
        public nint Data;
        public nuint Size;
    }
}
