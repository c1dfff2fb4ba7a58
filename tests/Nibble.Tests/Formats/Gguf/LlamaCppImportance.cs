using System.Runtime.InteropServices;
using System.Text;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Gguf;

/// <summary>llama.cpp's own reader of importance matrices (<c>common_imatrix_load</c>), called in this process.</summary>
/// <remarks>It is C++ that fills containers of GNU's standard library, whose layout stands here; their memory is not given back.</remarks>
internal static unsafe class LlamaCppImportance
{
    private const string Function = "_Z19common_imatrix_loadRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEER14common_imatrix";

    /// <summary>Reads a file; skips the running test where the libraries are not installed.</summary>
    /// <returns>Sums and counts by name, the number of chunks and their size; null where the reader refuses the file.</returns>
    public static (Dictionary<string, (float[] Sums, long[] Counts)> Entries, int Chunks, int ChunkSize)? Read(string path)
    {
        var common = NativeLibrary.Load(Path.Combine(LlamaCpp.RequireFolder(), "libllama-common.so"));
        var load = (delegate* unmanaged<nint*, nint*, byte>)NativeLibrary.GetExport(common, Function);

        // A string is its address, length and capacity; the result begins with a map and a vector, and has room to spare here.
        var name = stackalloc nint[4] { Marshal.StringToCoTaskMemUTF8(path), Encoding.UTF8.GetByteCount(path), Encoding.UTF8.GetByteCount(path), 0 };
        var result = stackalloc nint[64];
        new Span<nint>(result, 64).Clear();

        // An empty map: its root, and the first and last nodes, which are its own header.
        (result[3], result[4]) = ((nint)(result + 1), (nint)(result + 1));
        if (load(name, result) == 0)
        {
            return null;
        }

        var entries = new Dictionary<string, (float[], long[])>();
        Walk((nint*)result[2], entries);
        Assert.Equal(result[5], entries.Count);
        return (entries, ((int*)(result + 9))[0], ((int*)(result + 9))[1]);
    }

    // A node: colour, parent, left, right; the name, and vectors of their first element, end, and end of room.
    private static void Walk(nint* node, Dictionary<string, (float[], long[])> entries)
    {
        if (node is null)
        {
            return;
        }

        Walk((nint*)node[2], entries);
        var sums = node + 8;
        var counts = node + 11;
        entries.Add(
            Encoding.UTF8.GetString((byte*)node[4], (int)node[5]),
            (new ReadOnlySpan<float>((void*)sums[0], (int)(sums[1] - sums[0]) / sizeof(float)).ToArray(),
                new ReadOnlySpan<long>((void*)counts[0], (int)(counts[1] - counts[0]) / sizeof(long)).ToArray()));
        Walk((nint*)node[3], entries);
    }
}
