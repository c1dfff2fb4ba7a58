using Google.Protobuf;

namespace Nibble.Onnx.Graphs;

/// <summary>Constants of which only the values other than zero are stored.</summary>
/// <remarks>Definition: onnx/onnx, <c>onnx/onnx.proto</c>, <c>SparseTensorProto</c>.</remarks>
internal static class SparseTensors
{
    // A small file could otherwise require any amount of memory.
    private const long AlwaysAllowedBytes = 1 << 26;
    private const long MaximumGrowth = 1000;

    /// <summary>Makes a dense constant with the same values.</summary>
    /// <exception cref="NibbleException">The tensor is not valid, or much larger than what is stored of it.</exception>
    public static TensorProto Dense(SparseTensorProto sparse)
    {
        ArgumentNullException.ThrowIfNull(sparse);
        var values = sparse.Values ?? throw new NibbleException("A sparse tensor has no values.");
        var dense = new TensorProto { Name = values.Name, DataType = values.DataType, Dims = { sparse.Dims } };
        var (count, width, bytes) = (dense.Count(), values.ElementBytes(), values.Bytes());
        var indices = sparse.Indices?.Integers() ?? throw TensorValues.Fault(values, "is sparse and has no indices");
        var stored = values.Count();
        var isLinear = sparse.Indices.Dims.Count == 1;
        if (indices.Length != (long)stored * (isLinear ? 1 : dense.Dims.Count))
        {
            throw TensorValues.Fault(
                values,
                $"has {stored} values and indices of the shape [{string.Join(", ", sparse.Indices.Dims)}], expected one index per value, or one per axis");
        }

        var needed = (long)count * width;
        if (needed > Array.MaxLength || needed > Math.Max(AlwaysAllowedBytes, MaximumGrowth * (bytes.Length + (8L * indices.Length))))
        {
            throw TensorValues.Fault(
                values, $"is sparse and takes {needed} bytes when all its values are stored, which is too many. Store it as a dense one");
        }

        var result = new byte[count * width];
        for (var i = 0; i < stored; i++)
        {
            var at = isLinear ? Within(indices[i], count, values) : 0L;
            for (var axis = 0; !isLinear && axis < dense.Dims.Count; axis++)
            {
                at = (at * dense.Dims[axis]) + Within(indices[(i * dense.Dims.Count) + axis], dense.Dims[axis], values);
            }

            bytes.AsSpan(i * width, width).CopyTo(result.AsSpan((int)at * width));
        }

        dense.RawData = UnsafeByteOperations.UnsafeWrap(result);
        return dense;
    }

    private static long Within(long index, long size, TensorProto values) => index >= 0 && index < size ? index
        : throw TensorValues.Fault(values, $"has a value at index {index}, expected 0 to {size - 1}");
}
