using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>The operators of operator set 13 and later, in double precision, as the text of ONNX defines them.</summary>
internal static class SimulatedOperators
{
    /// <summary>Computes a node.</summary>
    /// <param name="node">The node.</param>
    /// <param name="read">Its inputs; null for those that are omitted.</param>
    /// <returns>Its outputs.</returns>
    public static IReadOnlyList<SimulatedTensor> Compute(NodeProto node, SimulatedTensor?[] read)
    {
        var x = read[0]!;
        return node.OpType switch
        {
            "Identity" => [x],
            "Shape" => [new SimulatedTensor([x.Rank], Array.ConvertAll(x.Shape, size => (double)size))],
            "Relu" => [x.Map(value => Math.Max(value, 0))],
            "LeakyRelu" => [x.Map(value => value < 0 ? value * node.Float("alpha", 0.01f) : value)],
            "Sigmoid" => [x.Map(value => 1 / (1 + Math.Exp(-value)))],
            "Clip" => [x.Map(value => Math.Min(Math.Max(value, Scalar(read, 1, double.NegativeInfinity)), Scalar(read, 2, double.PositiveInfinity)))],
            "Add" => [SimulatedTensor.Combine(x, read[1]!, (a, b) => a + b)],
            "Mul" => [SimulatedTensor.Combine(x, read[1]!, (a, b) => a * b)],
            "BatchNormalization" => [BatchNormalization(node, read)],
            "Conv" => [SimulatedWindows.Convolution(node, x, read[1]!, read.ElementAtOrDefault(2))],
            "MaxPool" => [SimulatedWindows.Pool(node, x)],
            "AveragePool" => [SimulatedWindows.Pool(node, x)],
            "GlobalAveragePool" => [Mean(x, [.. Enumerable.Range(2, x.Rank - 2)], keeps: true)],
            "ReduceMean" => [ReduceMean(node, read)],
            "MatMul" => [Product(x, read[1]!)],
            "Gemm" => [Gemm(node, x, read[1]!, read.ElementAtOrDefault(2))],
            "Concat" => [Concat(x.Axis(node.Integer("axis", 0)), [.. read.Select(part => part!)])],
            "Reshape" => [Reshape(x, read[1]!.Integers)],
            "Flatten" => [Reshape(x, [SimulatedTensor.Count(x.Shape[..x.Axis(node.Integer("axis", 1))]), -1])],
            "Transpose" => [Transpose(x, [.. node.Integers("perm")?.Select(axis => (int)axis) ?? Enumerable.Range(0, x.Rank).Reverse()])],
            "Squeeze" => [Squeeze(x, read.ElementAtOrDefault(1))],
            "Unsqueeze" => [Unsqueeze(x, read[1]!.Integers)],
            "Slice" => [Slice(x, read)],
            "Split" => Split(node, x, read.ElementAtOrDefault(1)),
            "Resize" => [Resize(node, x, read[2]!.Values)],
            "Softmax" => [Softmax(x, x.Axis(node.Integer("axis", -1)))],
            "Pad" => [Pad(node, x, read[1]!.Integers, Scalar(read, 2, 0))],
            "Gather" => [Gather(x, read[1]!, x.Axis(node.Integer("axis", 0)))],
            _ => throw new ArgumentException($"The simulation has no operator {node.OpType}.", nameof(node)),
        };
    }

    private static double Scalar(SimulatedTensor?[] read, int input, double otherwise) =>
        read.ElementAtOrDefault(input) is { Values: [var value, ..] } ? value : otherwise;

    private static SimulatedTensor BatchNormalization(NodeProto node, SimulatedTensor?[] read)
    {
        double epsilon = node.Float("epsilon", 1e-5f);
        return PerChannel(read[0]!, (value, channel) =>
            ((value - read[3]!.Values[channel]) / Math.Sqrt(read[4]!.Values[channel] + epsilon) * read[1]!.Values[channel]) + read[2]!.Values[channel]);
    }

    private static SimulatedTensor PerChannel(SimulatedTensor x, Func<double, int, double> function) =>
        new(x.Shape, [.. x.Values.Select((value, i) => function(value, SimulatedTensor.Place(i, x.Shape)[1]))]);

    private static SimulatedTensor ReduceMean(NodeProto node, SimulatedTensor?[] read)
    {
        var x = read[0]!;
        var axes = read.ElementAtOrDefault(1)?.Integers ?? node.Integers("axes")?.Select(axis => (int)axis).ToArray() ?? [.. Enumerable.Range(0, x.Rank)];
        return Mean(x, [.. axes.Select(axis => x.Axis(axis))], node.Integer("keepdims", 1) != 0);
    }

    private static SimulatedTensor Mean(SimulatedTensor x, int[] axes, bool keeps)
    {
        int[] shape = [.. x.Shape.Select((size, axis) => axes.Contains(axis) ? 1 : size)];
        var (sums, strides) = (new double[SimulatedTensor.Count(shape)], SimulatedTensor.Strides(shape));
        for (var i = 0; i < x.Values.Length; i++)
        {
            sums[SimulatedTensor.Place(i, x.Shape).Select((at, axis) => axes.Contains(axis) ? 0 : at * strides[axis]).Sum()] += x.Values[i];
        }

        var count = (double)x.Values.Length / sums.Length;
        return new SimulatedTensor(keeps ? shape : [.. shape.Where((_, axis) => !axes.Contains(axis))], Array.ConvertAll(sums, sum => sum / count));
    }

    /// <summary>Products of the last two axes. The others of the right factor repeat if it does not have them.</summary>
    private static SimulatedTensor Product(SimulatedTensor x, SimulatedTensor y)
    {
        var (rows, inner, columns) = (x.Shape[^2], x.Shape[^1], y.Shape[^1]);
        var (left, right) = (x.Values.Length / (rows * inner), y.Values.Length / (inner * columns));
        var count = Math.Max(left, right);
        var values = new double[count * rows * columns];
        for (var i = 0; i < values.Length; i++)
        {
            var (matrix, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
            var (a, b) = ((((left == 1 ? 0 : matrix) * rows) + row) * inner, ((right == 1 ? 0 : matrix) * inner * columns) + column);
            for (var k = 0; k < inner; k++)
            {
                values[i] += x.Values[a + k] * y.Values[b + (k * columns)];
            }
        }

        return new SimulatedTensor([.. (x.Rank >= y.Rank ? x : y).Shape[..^2], rows, columns], values);
    }

    private static SimulatedTensor Gemm(NodeProto node, SimulatedTensor x, SimulatedTensor y, SimulatedTensor? added)
    {
        double alpha = node.Float("alpha", 1), beta = node.Float("beta", 1);
        x = node.Integer("transA", 0) == 0 ? x : Transpose(x, [1, 0]);
        y = node.Integer("transB", 0) == 0 ? y : Transpose(y, [1, 0]);
        var product = Product(x, y).Map(value => alpha * value);
        return added is null ? product : SimulatedTensor.Combine(product, added, (a, b) => a + (beta * b));
    }

    private static SimulatedTensor Concat(int axis, SimulatedTensor[] parts)
    {
        int[] shape = [.. parts[0].Shape];
        shape[axis] = parts.Sum(part => part.Shape[axis]);
        var inner = SimulatedTensor.Count(shape[(axis + 1)..]);
        var outer = SimulatedTensor.Count(shape[..axis]);
        return new SimulatedTensor(shape, [.. Enumerable.Range(0, outer).SelectMany(row => parts.SelectMany(part =>
        {
            var length = part.Shape[axis] * inner;
            return part.Values.Skip(row * length).Take(length);
        }))]);
    }

    private static SimulatedTensor Reshape(SimulatedTensor x, int[] given)
    {
        int[] shape = [.. given.Select((size, axis) => size == 0 ? x.Shape[axis] : size)];
        var open = Array.IndexOf(shape, -1);
        if (open >= 0)
        {
            shape[open] = x.Values.Length / -SimulatedTensor.Count(shape);
        }

        return new SimulatedTensor(shape, x.Values);
    }

    private static SimulatedTensor Transpose(SimulatedTensor x, int[] order) => x.Pick([.. order.Select(axis => x.Shape[axis])], place =>
    {
        var source = new int[order.Length];
        for (var i = 0; i < order.Length; i++)
        {
            source[order[i]] = place[i];
        }

        return source;
    });

    private static SimulatedTensor Squeeze(SimulatedTensor x, SimulatedTensor? axes)
    {
        var removed = axes?.Integers.Select(axis => x.Axis(axis)).ToArray() ?? [.. Enumerable.Range(0, x.Rank).Where(axis => x.Shape[axis] == 1)];
        return new SimulatedTensor([.. x.Shape.Where((_, axis) => !removed.Contains(axis))], x.Values);
    }

    private static SimulatedTensor Unsqueeze(SimulatedTensor x, int[] axes)
    {
        var rank = x.Rank + axes.Length;
        var added = axes.Select(axis => axis < 0 ? axis + rank : axis).ToHashSet();
        var sizes = new Queue<int>(x.Shape);
        return new SimulatedTensor([.. Enumerable.Range(0, rank).Select(axis => added.Contains(axis) ? 1 : sizes.Dequeue())], x.Values);
    }

    private static SimulatedTensor Slice(SimulatedTensor x, SimulatedTensor?[] read)
    {
        var (starts, ends) = (read[1]!.Integers, read[2]!.Integers);
        var axes = read.ElementAtOrDefault(3)?.Integers ?? [.. Enumerable.Range(0, starts.Length)];
        var (first, steps, shape) = (new int[x.Rank], Enumerable.Repeat(1, x.Rank).ToArray(), x.Shape.ToArray());
        for (var i = 0; i < axes.Length; i++)
        {
            var (axis, step) = (x.Axis(axes[i]), read.ElementAtOrDefault(4)?.Integers[i] ?? 1);
            var size = x.Shape[axis];
            int Bound(int at) => Math.Clamp(at < 0 ? at + size : at, 0, size);
            if (step < 1)
            {
                throw new ArgumentException($"The simulation has no step {step}.", nameof(read));
            }

            (first[axis], steps[axis]) = (Bound(starts[i]), step);
            shape[axis] = Math.Max(0, (Bound(ends[i]) - first[axis] + step - 1) / step);
        }

        return x.Pick(shape, place => [.. place.Select((at, axis) => first[axis] + (at * steps[axis]))]);
    }

    private static SimulatedTensor[] Split(NodeProto node, SimulatedTensor x, SimulatedTensor? given)
    {
        var axis = x.Axis(node.Integer("axis", 0));
        var part = (x.Shape[axis] + node.Output.Count - 1) / node.Output.Count;
        var sizes = given?.Integers ?? [.. node.Output.Select((_, i) => Math.Min(part, x.Shape[axis] - (i * part)))];
        return [.. sizes.Select((size, i) =>
        {
            var start = sizes.Take(i).Sum();
            return x.Pick([.. x.Shape[..axis], size, .. x.Shape[(axis + 1)..]], place => [.. place.Select((at, other) => other == axis ? at + start : at)]);
        })];
    }

    private static SimulatedTensor Resize(NodeProto node, SimulatedTensor x, double[] scales)
    {
        var isAsymmetric = node.Text("coordinate_transformation_mode", "half_pixel") == "asymmetric";
        var rounding = node.Text("nearest_mode", "round_prefer_floor");
        return x.Pick([.. x.Shape.Select((size, axis) => (int)(size * scales[axis]))], place => [.. place.Select((at, axis) =>
        {
            var source = isAsymmetric ? at / scales[axis] : ((at + 0.5) / scales[axis]) - 0.5;
            var nearest = rounding switch
            {
                "floor" => Math.Floor(source),
                "ceil" => Math.Ceiling(source),
                "round_prefer_floor" => Math.Ceiling(source - 0.5),
                _ => throw new ArgumentException($"The simulation has no {rounding}.", nameof(node)),
            };
            return (int)Math.Clamp(nearest, 0, x.Shape[axis] - 1);
        })]);
    }

    private static SimulatedTensor Softmax(SimulatedTensor x, int axis)
    {
        var (size, stride) = (x.Shape[axis], SimulatedTensor.Strides(x.Shape)[axis]);
        var values = new double[x.Values.Length];
        for (var start = 0; start < values.Length; start++)
        {
            if (start / stride % size == 0)
            {
                var line = Enumerable.Range(0, size).Select(i => start + (i * stride)).ToArray();
                var largest = line.Max(i => x.Values[i]);
                var sum = line.Sum(i => Math.Exp(x.Values[i] - largest));
                foreach (var i in line)
                {
                    values[i] = Math.Exp(x.Values[i] - largest) / sum;
                }
            }
        }

        return new SimulatedTensor(x.Shape, values);
    }

    private static SimulatedTensor Pad(NodeProto node, SimulatedTensor x, int[] pads, double value)
    {
        var mode = node.Text("mode", "constant");
        int[] shape = [.. x.Shape.Select((size, axis) => size + pads[axis] + pads[axis + x.Rank])];
        return x.Pick(
            shape,
            place =>
            {
                int[] source = [.. place.Select((at, axis) => at - pads[axis])];
                return mode switch
                {
                    "constant" => source.Zip(x.Shape).All(pair => pair.First >= 0 && pair.First < pair.Second) ? source : null,
                    "edge" => [.. source.Zip(x.Shape, (at, size) => Math.Clamp(at, 0, size - 1))],
                    "reflect" => [.. source.Zip(x.Shape, (at, size) => at < 0 ? -at : at >= size ? (2 * (size - 1)) - at : at)],
                    _ => throw new ArgumentException($"The simulation has no padding {mode}.", nameof(node)),
                };
            },
            value);
    }

    private static SimulatedTensor Gather(SimulatedTensor x, SimulatedTensor indices, int axis)
    {
        var chosen = indices.Integers;
        var strides = SimulatedTensor.Strides(indices.Shape);
        return x.Pick([.. x.Shape[..axis], .. indices.Shape, .. x.Shape[(axis + 1)..]], place =>
        {
            var index = chosen[place.Skip(axis).Take(indices.Rank).Zip(strides, (at, stride) => at * stride).Sum()];
            return [.. place[..axis], index < 0 ? index + x.Shape[axis] : index, .. place[(axis + indices.Rank)..]];
        });
    }
}
