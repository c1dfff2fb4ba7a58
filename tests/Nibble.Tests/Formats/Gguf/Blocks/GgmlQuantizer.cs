using Nibble.Files;
using System.Runtime.InteropServices;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>llama.cpp's own quantizer, called in this process.</summary>
internal static unsafe class GgmlQuantizer
{
    /// <summary>Quantizes rows; skips the running test where the library is not installed.</summary>
    /// <param name="type">The type of the blocks.</param>
    /// <param name="values">Values, row by row.</param>
    /// <param name="columns">Values in a row, whole blocks.</param>
    /// <param name="importance">A weight for each column; null for none.</param>
    public static byte[] Quantize(GgufType type, float[] values, int columns, float[]? importance = null)
    {
        var function = (delegate* unmanaged<int, float*, void*, long, long, long, float*, nuint>)NativeLibrary
            .GetExport(LlamaCpp.RequireBase(), "ggml_quantize_chunk");
        var rows = values.Length / columns;
        var blocks = new byte[values.Length / type.BlockSize() * type.BlockBytes()];
        fixed (float* source = values, weights = importance)
        fixed (byte* target = blocks)
        {
            Assert.Equal((nuint)blocks.Length, function((int)type, source, target, 0, rows, columns, weights));
        }

        return blocks;
    }

    /// <summary>Reads blocks by one of llama.cpp's functions.</summary>
    public static float[] Dequantize(string function, byte[] blocks, int count)
    {
        var dequantize = (delegate* unmanaged<void*, float*, long, void>)NativeLibrary.GetExport(LlamaCpp.RequireBase(), function);
        var values = new float[count];
        fixed (byte* source = blocks)
        fixed (float* target = values)
        {
            dequantize(source, target, count);
        }

        return values;
    }
}
