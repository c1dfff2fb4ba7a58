using Google.Protobuf;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Graphs;

public class TensorValuesTests
{
    [Fact]
    public void FloatsAreReadFromEveryStorage()
    {
        float[] expected = [1.5f, -2];
        Assert.All(
            (TensorProto[])
            [
                Raw(OnnxType.Float32, BitConverter.GetBytes(1.5f), BitConverter.GetBytes(-2f)),
                Typed(OnnxType.Float32, tensor => tensor.FloatData.Add([1.5f, -2])),
                Raw(OnnxType.Float64, BitConverter.GetBytes(1.5), BitConverter.GetBytes(-2.0)),
                Typed(OnnxType.Float64, tensor => tensor.DoubleData.Add([1.5, -2])),
                Raw(OnnxType.Float16, BitConverter.GetBytes((Half)1.5f), BitConverter.GetBytes((Half)(-2))),
                Typed(OnnxType.Float16, tensor => tensor.Int32Data.Add([0x3E00, 0xC000])),
                Raw(OnnxType.BFloat16, [0xC0, 0x3F], [0x00, 0xC0]),
                Typed(OnnxType.BFloat16, tensor => tensor.Int32Data.Add([0x3FC0, 0xC000])),
            ],
            tensor => Assert.Equal(expected, tensor.Floats()));
    }

    [Fact]
    public void IntegersAreReadFromEveryStorage()
    {
        Assert.All(
            (TensorProto[])
            [
                Raw(OnnxType.Int64, BitConverter.GetBytes(5L), BitConverter.GetBytes(-3L)), Typed(OnnxType.Int64, tensor => tensor.Int64Data.Add([5, -3])),
                Raw(OnnxType.Int32, BitConverter.GetBytes(5), BitConverter.GetBytes(-3)), Typed(OnnxType.Int32, tensor => tensor.Int32Data.Add([5, -3])),
                Raw(OnnxType.Int16, [5, 0], [0xFD, 0xFF]), Typed(OnnxType.Int16, tensor => tensor.Int32Data.Add([5, -3])),
                Raw(OnnxType.Int8, [5], [0xFD]), Typed(OnnxType.Int8, tensor => tensor.Int32Data.Add([5, -3])),
            ],
            tensor => Assert.Equal([5L, -3], tensor.Integers()));
        Assert.All(
            (TensorProto[])
            [
                Raw(OnnxType.UInt8, [1], [0]), Typed(OnnxType.UInt8, tensor => tensor.Int32Data.Add([1, 0])),
                Raw(OnnxType.Bool, [1], [0]), Typed(OnnxType.Bool, tensor => tensor.Int32Data.Add([1, 0])),
                Raw(OnnxType.UInt16, [1, 0], [0, 0]), Typed(OnnxType.UInt16, tensor => tensor.Int32Data.Add([1, 0])),
                Raw(OnnxType.UInt32, [1, 0, 0, 0], [0, 0, 0, 0]), Typed(OnnxType.UInt32, tensor => tensor.Uint64Data.Add([1, 0])),
                Raw(OnnxType.UInt64, BitConverter.GetBytes(1L), BitConverter.GetBytes(0L)), Typed(OnnxType.UInt64, tensor => tensor.Uint64Data.Add([1, 0])),
            ],
            tensor => Assert.Equal([1L, 0], tensor.Integers()));
    }

    [Fact]
    public void BytesAreThoseOfTheRawForm()
    {
        (TensorProto Typed, TensorProto Raw)[] pairs =
        [
            (Typed(OnnxType.Float32, tensor => tensor.FloatData.Add([1, 2])), Raw(OnnxType.Float32, BitConverter.GetBytes(1f), BitConverter.GetBytes(2f))),
            (Typed(OnnxType.Float64, tensor => tensor.DoubleData.Add([1, 2])), Raw(OnnxType.Float64, BitConverter.GetBytes(1.0), BitConverter.GetBytes(2.0))),
            (Typed(OnnxType.Int64, tensor => tensor.Int64Data.Add([1, -2])), Raw(OnnxType.Int64, BitConverter.GetBytes(1L), BitConverter.GetBytes(-2L))),
            (Typed(OnnxType.UInt64, tensor => tensor.Uint64Data.Add([1, 2])), Raw(OnnxType.UInt64, BitConverter.GetBytes(1L), BitConverter.GetBytes(2L))),
            (Typed(OnnxType.UInt32, tensor => tensor.Uint64Data.Add([1, 2])), Raw(OnnxType.UInt32, BitConverter.GetBytes(1), BitConverter.GetBytes(2))),
            (Typed(OnnxType.Int32, tensor => tensor.Int32Data.Add([1, -2])), Raw(OnnxType.Int32, BitConverter.GetBytes(1), BitConverter.GetBytes(-2))),
            (Typed(OnnxType.Float16, tensor => tensor.Int32Data.Add([0x3E00, 0xC000])), Raw(OnnxType.Float16, [0, 0x3E], [0, 0xC0])),
            (Typed(OnnxType.Int8, tensor => tensor.Int32Data.Add([1, -2])), Raw(OnnxType.Int8, [1], [0xFE])),
        ];
        Assert.All(pairs, pair => Assert.Equal(pair.Raw.Bytes(), pair.Typed.Bytes()));
        Assert.All(pairs, pair => Assert.Equal(pair.Raw.RawData.ToByteArray(), pair.Raw.Bytes()));
    }

    [Fact]
    public void WhatIsWrongIsSaid()
    {
        Throws("holds 4 bytes, expected 8", () => Raw(OnnxType.Float32, [0, 0], [0, 0]).Floats());
        Throws("holds 4 bytes, expected 8", () => Raw(OnnxType.Float32, [0, 0], [0, 0]).Bytes());
        Throws("holds 1 values, expected 2", () => Typed(OnnxType.Float32, tensor => tensor.FloatData.Add(1)).Floats());
        Throws("holds 0 values, expected 2", () => Typed(OnnxType.Int8, _ => { }).RequireValues());
        Throws("has the type INT64, expected floating-point numbers", () => Raw(OnnxType.Int64, new byte[16]).Floats());
        Throws("has the type FLOAT, expected integers", () => Raw(OnnxType.Float32, new byte[8]).Integers());
        Throws("has the type STRING, expected elements of whole bytes", () => Typed(OnnxType.String, _ => { }).Bytes());
        Throws("holds the number 18446744073709551615", () => Typed(OnnxType.UInt64, tensor => tensor.Uint64Data.Add([1, ulong.MaxValue])).Integers());
        Throws("which is negative or too large", () => new TensorProto { Name = "t", DataType = 1, Dims = { -1 } }.Floats());
        Throws("which is negative or too large", () => new TensorProto { Name = "t", DataType = 1, Dims = { 1 << 20, 1 << 20, 1 << 20, 1 << 20 } }.Floats());
    }

    [Theory]
    [InlineData(14, 4)]
    [InlineData(21, 1)]
    [InlineData(25, 1)]
    public void PackedNumbersAndPairsAreCounted(int type, int count)
    {
        var tensor = new TensorProto { Name = "t", DataType = type, Dims = { 2 } };
        tensor.FloatData.Add(Enumerable.Repeat(0f, type == 14 ? count : 0));
        tensor.Int32Data.Add(Enumerable.Repeat(0, type == 14 ? 0 : count));
        tensor.RequireValues();
        tensor.FloatData.Add(0);
        tensor.Int32Data.Add(0);
        Throws($"holds {count + 1} values, expected {count}", tensor.RequireValues);
    }

    private static void Throws(string message, Action read) =>
        Assert.Contains(message, Assert.Throws<NibbleException>(read).Message, StringComparison.Ordinal);

    private static TensorProto Raw(OnnxType type, params byte[][] bytes) =>
        new() { Name = "t", DataType = (int)type, Dims = { 2 }, RawData = ByteString.CopyFrom([.. bytes.SelectMany(part => part)]) };

    private static TensorProto Typed(OnnxType type, Action<TensorProto> fill)
    {
        var tensor = new TensorProto { Name = "t", DataType = (int)type, Dims = { 2 } };
        fill(tensor);
        return tensor;
    }
}
