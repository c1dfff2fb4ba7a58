using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Convolutions and pools over any number of axes.</summary>
internal static class SimulatedWindows
{
    /// <summary>A convolution. The weight is [out, in / group, kernel...].</summary>
    public static SimulatedTensor Convolution(NodeProto node, SimulatedTensor x, SimulatedTensor weight, SimulatedTensor? bias)
    {
        var (sizes, taps) = Slide(node, x.Shape[2..], weight.Shape[2..]);
        var (channels, outputs, inner) = (x.Shape[1], weight.Shape[0], weight.Shape[1]);
        var perGroup = outputs / (int)node.Integer("group", 1);
        var (area, kernel, result) = (SimulatedTensor.Count(x.Shape[2..]), SimulatedTensor.Count(weight.Shape[2..]), SimulatedTensor.Count(sizes));
        var values = new double[x.Shape[0] * outputs * result];
        for (var (row, at) = (0, 0); row < x.Shape[0] * outputs; row++, at += result)
        {
            var (sample, output) = Math.DivRem(row, outputs);
            Array.Fill(values, bias?.Values[output] ?? 0, at, result);
            for (var i = 0; i < inner; i++)
            {
                var from = ((sample * channels) + (output / perGroup * inner) + i) * area;
                var by = ((output * inner) + i) * kernel;
                foreach (var (place, source, tap) in taps)
                {
                    values[at + place] += x.Values[from + source] * weight.Values[by + tap];
                }
            }
        }

        return new SimulatedTensor([x.Shape[0], outputs, .. sizes], values);
    }

    /// <summary>A MaxPool or AveragePool.</summary>
    public static SimulatedTensor Pool(NodeProto node, SimulatedTensor x)
    {
        int[] kernel = [.. node.Integers("kernel_shape")!.Select(size => (int)size)];
        var (sizes, taps) = Slide(node, x.Shape[2..], kernel);
        var isMaximum = node.OpType == "MaxPool";
        var (area, result) = (SimulatedTensor.Count(x.Shape[2..]), SimulatedTensor.Count(sizes));
        var counts = new int[result];
        foreach (var (place, _, _) in taps)
        {
            counts[place]++;
        }

        if (node.Integer("count_include_pad", 0) != 0)
        {
            Array.Fill(counts, SimulatedTensor.Count(kernel));
        }

        var planes = x.Shape[0] * x.Shape[1];
        var values = new double[planes * result];
        Array.Fill(values, isMaximum ? double.NegativeInfinity : 0);
        for (var plane = 0; plane < planes; plane++)
        {
            foreach (var (place, source, _) in taps)
            {
                var at = (plane * result) + place;
                var value = x.Values[(plane * area) + source];
                values[at] = isMaximum ? Math.Max(values[at], value) : values[at] + (value / counts[place]);
            }
        }

        return new SimulatedTensor([.. x.Shape[..2], .. sizes], values);
    }

    /// <summary>The elements under the window at each of its places.</summary>
    /// <returns>
    /// The sizes of the output, and for each place and each element inside of the input: the place, the element, and its number in the kernel.
    /// </returns>
    private static (int[] Sizes, List<(int Place, int Source, int Tap)> Taps) Slide(NodeProto node, int[] sizes, int[] kernel)
    {
        var axes = sizes.Length;
        var strides = node.Integers("strides")?.Select(size => (int)size).ToArray() ?? [.. Enumerable.Repeat(1, axes)];
        var dilations = node.Integers("dilations")?.Select(size => (int)size).ToArray() ?? [.. Enumerable.Repeat(1, axes)];
        var pads = node.Integers("pads")?.Select(size => (int)size).ToArray() ?? new int[2 * axes];
        var outputs = new int[axes];
        for (var axis = 0; axis < axes; axis++)
        {
            var reach = (dilations[axis] * (kernel[axis] - 1)) + 1;
            outputs[axis] = ((sizes[axis] + pads[axis] + pads[axis + axes] - reach) / strides[axis]) + 1;
            if (node.Text("auto_pad", "NOTSET") == "SAME_UPPER")
            {
                outputs[axis] = (sizes[axis] + strides[axis] - 1) / strides[axis];
                pads[axis] = Math.Max(0, ((outputs[axis] - 1) * strides[axis]) + reach - sizes[axis]) / 2;
            }
        }

        var taps = new List<(int, int, int)>();
        var steps = SimulatedTensor.Strides(sizes);
        for (var place = 0; place < SimulatedTensor.Count(outputs); place++)
        {
            var corner = SimulatedTensor.Place(place, outputs);
            for (var tap = 0; tap < SimulatedTensor.Count(kernel); tap++)
            {
                var inside = SimulatedTensor.Place(tap, kernel);
                int[] source = [.. inside.Select((at, axis) => (corner[axis] * strides[axis]) + (at * dilations[axis]) - pads[axis])];
                if (source.Zip(sizes).All(pair => pair.First >= 0 && pair.First < pair.Second))
                {
                    taps.Add((place, source.Zip(steps, (at, step) => at * step).Sum(), tap));
                }
            }
        }

        return (outputs, taps);
    }
}
