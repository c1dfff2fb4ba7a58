using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Values in double precision, which holds all codes and all indices of the tests exactly.</summary>
/// <param name="Shape">The sizes.</param>
/// <param name="Values">The values, in row-major order.</param>
internal sealed record SimulatedTensor(int[] Shape, double[] Values)
{
    public int Rank => Shape.Length;

    /// <summary>The values as integers.</summary>
    public int[] Integers => Array.ConvertAll(Values, value => (int)Math.Clamp(value, int.MinValue, int.MaxValue));

    public static SimulatedTensor Of(TensorProto tensor) => new(
        [.. tensor.Dims.Select(size => (int)size)],
        tensor.Element() == OnnxType.Float32 ? Array.ConvertAll(tensor.Floats(), value => (double)value)
            : Array.ConvertAll(tensor.Integers(), value => (double)value));

    public static int Count(IEnumerable<int> shape) => shape.Aggregate(1, (product, size) => product * size);

    /// <summary>An axis counted from the front.</summary>
    public int Axis(long axis) => (int)(axis < 0 ? axis + Rank : axis);

    /// <summary>The number of elements between neighbours on each axis.</summary>
    public static int[] Strides(int[] shape)
    {
        var strides = new int[shape.Length];
        for (var (axis, stride) = (shape.Length - 1, 1); axis >= 0; axis--)
        {
            strides[axis] = stride;
            stride *= shape[axis];
        }

        return strides;
    }

    /// <summary>The place of an element in each axis.</summary>
    public static int[] Place(int index, int[] shape)
    {
        var place = new int[shape.Length];
        for (var axis = shape.Length - 1; axis >= 0; axis--)
        {
            (index, place[axis]) = Math.DivRem(index, shape[axis]);
        }

        return place;
    }

    /// <summary>A tensor whose elements are chosen from this one.</summary>
    /// <param name="shape">Its shape.</param>
    /// <param name="source">The place in this tensor for a place in the new one; null for a given value.</param>
    /// <param name="otherwise">The given value.</param>
    public SimulatedTensor Pick(int[] shape, Func<int[], int[]?> source, double otherwise = 0)
    {
        var strides = Strides(Shape);
        var values = new double[Count(shape)];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = source(Place(i, shape)) is { } place ? Values[place.Zip(strides, (at, stride) => at * stride).Sum()] : otherwise;
        }

        return new SimulatedTensor(shape, values);
    }

    /// <summary>Applies a function to each element.</summary>
    public SimulatedTensor Map(Func<double, double> function) => new(Shape, Array.ConvertAll(Values, value => function(value)));

    /// <summary>Combines two tensors, whose axes of size 1 repeat.</summary>
    public static SimulatedTensor Combine(SimulatedTensor x, SimulatedTensor y, Func<double, double, double> function)
    {
        var rank = Math.Max(x.Rank, y.Rank);
        int Size(SimulatedTensor tensor, int axis) => axis < rank - tensor.Rank ? 1 : tensor.Shape[axis - rank + tensor.Rank];
        int[] shape = [.. Enumerable.Range(0, rank).Select(axis => Size(x, axis) == 1 ? Size(y, axis) : Size(x, axis))];
        var (left, right) = (Spread(x), Spread(y));
        return new SimulatedTensor(shape, [.. left.Values.Zip(right.Values, function)]);

        SimulatedTensor Spread(SimulatedTensor tensor) => tensor.Pick(
            shape, place => [.. tensor.Shape.Select((size, axis) => size == 1 ? 0 : place[axis + rank - tensor.Rank])]);
    }
}
