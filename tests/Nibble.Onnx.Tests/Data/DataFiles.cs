using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Data;

namespace Nibble.Onnx.Tests.Data;

/// <summary>Files of data as other programs write them, and what is read of them.</summary>
internal static class DataFiles
{
    public static GraphInput Input(string name, params long?[] shape) => new(name, TensorElementType.Float, shape);

    public static GraphInput Integers(string name, params long?[] shape) => new(name, TensorElementType.Int64, shape);

    public static byte[] Npy(string type, string shape, byte[] elements, bool isFortran = false)
    {
        var header = $"{{'descr': '{type}', 'fortran_order': {(isFortran ? "True" : "False")}, 'shape': {shape}, }}";
        header = header.PadRight(((header.Length + 11 + 63) / 64 * 64) - 11) + "\n";
        return [0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, (byte)(header.Length >> 8), .. Encoding.ASCII.GetBytes(header), .. elements];
    }

    public static byte[] Npz(params (string Name, byte[] Npy)[] arrays)
    {
        using var stream = new MemoryStream();
        using (var archive = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, npy) in arrays)
            {
                using var entry = archive.CreateEntry($"{name}.npy").Open();
                entry.Write(npy);
            }
        }

        return stream.ToArray();
    }

    public static byte[] Bytes(params float[] values) => [.. values.SelectMany(BitConverter.GetBytes)];

    public static byte[] Bytes(params long[] values) => [.. values.SelectMany(BitConverter.GetBytes)];

    public static byte[] Wav(int format, int channels, int bits, byte[] values, int rate = 16000)
    {
        var head = new byte[44];
        "RIFF"u8.CopyTo(head);
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(4), 36 + values.Length);
        "WAVEfmt "u8.CopyTo(head.AsSpan(8));
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(16), 16);
        BinaryPrimitives.WriteInt16LittleEndian(head.AsSpan(20), (short)format);
        BinaryPrimitives.WriteInt16LittleEndian(head.AsSpan(22), (short)channels);
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(24), rate);
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(28), rate * channels * bits / 8);
        BinaryPrimitives.WriteInt16LittleEndian(head.AsSpan(32), (short)(channels * bits / 8));
        BinaryPrimitives.WriteInt16LittleEndian(head.AsSpan(34), (short)bits);
        "data"u8.CopyTo(head.AsSpan(36));
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(40), values.Length);
        return [.. head, .. values];
    }

    public static string WriteBytes(string path, byte[] bytes)
    {
        File.WriteAllBytes(path, bytes);
        return path;
    }

    public static float[] Floats(NamedOnnxValue value) => ((DenseTensor<float>)value.Value).Buffer.ToArray();

    public static long[] Longs(NamedOnnxValue value) => ((DenseTensor<long>)value.Value).Buffer.ToArray();

    public static int[] Shape(NamedOnnxValue value) => TensorKind.Of(value).ShapeOf(value);

    /// <summary>Reads all samples, and returns the number of them; null if the data is refused.</summary>
    public static int? CountOrRefused(Func<IFileSamples> open)
    {
        try
        {
            return open().Read().Count();
        }
        catch (NibbleException)
        {
            return null;
        }
    }
}
