using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Makes small valid models of random operators, of any operator set from 7 to 24, in the forms that these demand.</summary>
internal sealed class RandomGraphs
{
    private const int Oldest = 7;
    private const int Newest = 24;

    /// <summary>Values do not grow beyond this number of elements.</summary>
    private const long Largest = 1200;

    private readonly int seed;
    private readonly Random random;
    private readonly int operatorSet;
    private readonly TestModel model;
    private readonly List<Value> values = [];
    private readonly List<(string Name, int[] Shape, int Bound)> inputs = [];
    private readonly Dictionary<string, List<string>> weights = new(StringComparer.Ordinal);

    private RandomGraphs(int seed)
    {
        this.seed = seed;
        random = new Random(seed);
        operatorSet = random.Next(Oldest, Newest + 1);
        model = new TestModel(operatorSet);
    }

    /// <summary>Makes a model.</summary>
    public static RandomGraph Make(int seed) => new RandomGraphs(seed).Make();

    /// <summary>A number of a normal distribution.</summary>
    public static float Normal(Random random) =>
        (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));

    private RandomGraph Make()
    {
        for (var i = random.Next(1, 3); i > 0; i--)
        {
            AddInput();
        }

        for (var i = random.Next(3, 12); i > 0; i--)
        {
            AddNodes();
        }

        AddOutputs();
        Store();
        return new RandomGraph(seed, model.Model, inputs);
    }

    private void AddInput()
    {
        var name = $"input{inputs.Count}";
        if (Chance(0.15))
        {
            var (rows, columns) = (random.Next(5, 30), random.Next(3, 20));
            int[] indices = [random.Next(1, 3), random.Next(2, 6)];
            inputs.Add((name, indices, rows));
            model.Input(name, OnnxType.Int64, indices.Select(size => (long?)size));
            Add(model.Node("Gather", [Weight(rows, columns), name]), [indices[0], indices[1], columns]);
            return;
        }

        long[] shape = random.Next(4) switch
        {
            0 => [random.Next(1, 3), random.Next(1, 33)],
            1 => [random.Next(1, 3), random.Next(1, 12), random.Next(3, 16)],
            _ => [random.Next(1, 3), random.Next(1, 12), random.Next(3, 10), random.Next(3, 10)],
        };
        inputs.Add((name, Array.ConvertAll(shape, size => (int)size), 0));
        var isFree = Chance(0.2);
        Add(model.Input(name, OnnxType.Float32, shape.Select((size, axis) => axis == 0 && isFree ? null : (long?)size)), shape);
    }

    private void AddNodes()
    {
        // Mostly the newest value, so that chains grow long.
        var x = Chance(0.65) ? values[^1] : values[random.Next(values.Count)];
        switch (random.Next(30))
        {
            case < 7 when x.Rank is 3 or 4:
                Convolution(x);
                break;
            case < 4 when x.Rank == 2:
                Gemm(x);
                break;
            case < 7 when x.Rank >= 2:
                Product(x);
                break;
            case < 10:
                Arithmetic(x);
                break;
            case < 14:
                Activation(x);
                break;
            case 14:
                Concat(x);
                break;
            case < 18 when x.Rank is 3 or 4:
                Pool(x);
                break;
            case 18:
                Reshape(x);
                break;
            case 19:
                Transpose(x);
                break;
            case 20:
                Add(model.Node("Flatten", [x.Name], NodeAttributes.Make("axis", 1)), [x.Shape[0], x.Count / x.Shape[0]]);
                break;
            case 21:
                Unsqueeze(x);
                break;
            case 22:
                Squeeze(x);
                break;
            case 23:
                Slice(x);
                break;
            case 24:
                Split(x);
                break;
            case 25 when x.Rank is 3 or 4 && x.Count * 4 <= Largest:
                Resize(x);
                break;
            case 26:
                Softmax(x);
                break;
            case 27 when x.Rank is 3 or 4:
                Pad(x);
                break;
            case 28:
                Mean(x);
                break;
            case 29:
                var chosen = Integers(x.Shape[^1] - 1, 0, operatorSet < 11 ? 0 : -1);
                Add(model.Node("Gather", [x.Name, chosen], NodeAttributes.Make("axis", x.Rank - 1)), [.. x.Shape[..^1], 3]);
                break;
            default:
                Activation(x);
                break;
        }
    }

    private void Convolution(Value x)
    {
        var channels = (int)x.Shape[1];
        var divisors = Enumerable.Range(1, channels).Where(size => channels % size == 0).ToArray();
        var group = random.Next(3) switch { 0 => channels, 1 => divisors[random.Next(divisors.Length)], _ => 1 };
        var outputs = group * random.Next(1, Math.Max(2, 10 / group));
        var window = Window.Draw(random, x.Shape[2..], mayDilate: true);
        List<string> read = [x.Name, Weight([outputs, channels / group, .. window.Kernel])];
        if (Chance(0.5))
        {
            read.Add(Floats(outputs));
        }

        AttributeProto[] groups = group > 1 || Chance(0.3) ? [NodeAttributes.Make("group", group)] : [];
        Add(model.Node("Conv", [.. read], [.. window.Attributes, .. groups]), [x.Shape[0], outputs, .. window.Outputs]);
        if (Chance(0.25))
        {
            var variance = model.Floats([.. Draw(outputs).Select(value => 0.1f + MathF.Abs(value))], outputs);
            string[] statistics = [Floats(outputs), Floats(outputs), Floats(outputs), variance];
            Add(model.Node("BatchNormalization", [values[^1].Name, .. statistics], NodeAttributes.Make("epsilon", 1e-3f)), values[^1].Shape);
        }
    }

    private void Gemm(Value x)
    {
        var (inner, outputs, isTransposed) = (x.Shape[1], random.Next(1, 20), Chance(0.5));
        List<string> read = [x.Name, isTransposed ? Weight(outputs, inner) : Weight(inner, outputs)];
        if (operatorSet < 11 || Chance(0.6))
        {
            read.Add(random.Next(5) switch
            {
                0 => Floats(1, outputs),
                1 => Floats(1),
                2 => Floats(x.Shape[0], outputs),
                _ => Floats(outputs),
            });
        }

        var attributes = new List<AttributeProto> { NodeAttributes.Make("transB", isTransposed ? 1 : 0) };
        if (Chance(0.15))
        {
            attributes.Add(NodeAttributes.Make(Chance(0.5) ? "alpha" : "beta", 0.5f));
        }

        Add(model.Node("Gemm", [.. read], [.. attributes]), [x.Shape[0], outputs]);
    }

    private void Product(Value x)
    {
        if (Chance(0.15) && x.Count / x.Shape[^1] * x.Shape[^2] <= Largest)
        {
            // Scores of attention: both factors are computed.
            long[] order = [.. Enumerable.Range(0, x.Rank - 2), x.Rank - 1, x.Rank - 2];
            var turned = model.Node("Transpose", [x.Name], NodeAttributes.Make("perm", order));
            Add(model.Node("MatMul", [x.Name, turned]), [.. x.Shape[..^1], x.Shape[^2]]);
            return;
        }

        var outputs = random.Next(1, 16);
        Add(model.Node("MatMul", [x.Name, Weight(x.Shape[^1], outputs)]), [.. x.Shape[..^1], outputs]);
        if (Chance(0.5))
        {
            var (product, bias) = (values[^1], Floats(outputs));
            Add(model.Node("Add", Chance(0.5) ? [product.Name, bias] : [bias, product.Name]), product.Shape);
        }
    }

    private void Arithmetic(Value x)
    {
        var others = values.Where(value => value.Shape.SequenceEqual(x.Shape)).ToList();
        var other = random.Next(4) switch
        {
            0 => Floats(),
            1 when x.Rank >= 2 => Floats([x.Shape[1], .. Enumerable.Repeat(1L, x.Rank - 2)]),
            2 => Floats(x.Shape),
            _ => others[random.Next(others.Count)].Name,
        };
        Add(model.Node(Chance(0.6) ? "Add" : "Mul", Chance(0.5) ? [x.Name, other] : [other, x.Name]), x.Shape);
    }

    private void Activation(Value x)
    {
        var name = random.Next(6) switch
        {
            0 or 1 => model.Node("Relu", [x.Name]),
            2 => Clip(x, 0, 6),
            3 => Clip(x, Chance(0.3) ? 0.25f : -1, 1.5f),
            4 => model.Node("LeakyRelu", [x.Name], NodeAttributes.Make("alpha", Chance(0.5) ? 0.1f : 0.3f)),
            _ => model.Node("Sigmoid", [x.Name]),
        };
        Add(name, x.Shape);
    }

    private string Clip(Value x, float least, float most) => operatorSet < 11
        ? model.Node("Clip", [x.Name], NodeAttributes.Make("min", least), NodeAttributes.Make("max", most))
        : model.Node("Clip", [x.Name, model.Floats([least]), model.Floats([most])]);

    private void Concat(Value x)
    {
        var axis = random.Next(x.Rank);
        var others = values.Where(value => value.Rank == x.Rank && value.Shape.Select((size, i) => i == axis || size == x.Shape[i]).All(same => same)).ToList();
        Value[] parts = [x, .. Enumerable.Range(0, random.Next(1, 3)).Select(_ => others[random.Next(others.Count)])];
        long[] shape = [.. x.Shape];
        shape[axis] = parts.Sum(part => part.Shape[axis]);
        if (shape.Aggregate(1L, (product, size) => product * size) <= Largest)
        {
            var along = NodeAttributes.Make("axis", Chance(0.3) && operatorSet >= 11 ? axis - x.Rank : axis);
            Add(model.Node("Concat", [.. parts.Select(part => part.Name)], along), shape);
        }
    }

    private void Pool(Value x)
    {
        var kind = random.Next(5);
        if (kind == 0)
        {
            Add(model.Node("GlobalAveragePool", [x.Name]), [.. x.Shape[..2], .. Enumerable.Repeat(1L, x.Rank - 2)]);
            return;
        }

        // ONNX Runtime makes the padding part of the pool, which it then refuses, or computes with another value.
        if (model.Model.Graph.Node.Any(node => node.OpType == "Pad" && node.Output.Contains(x.Name)))
        {
            return;
        }

        var isAverage = kind == 1;
        var window = Window.Draw(random, x.Shape[2..], mayDilate: false);
        AttributeProto[] kernel = [NodeAttributes.Make("kernel_shape", window.Kernel), .. window.Attributes];
        if (isAverage && Chance(0.4))
        {
            kernel = [.. kernel, NodeAttributes.Make("count_include_pad", 1)];
        }

        Add(model.Node(isAverage ? "AveragePool" : "MaxPool", [x.Name], kernel), [.. x.Shape[..2], .. window.Outputs]);
    }

    private void Reshape(Value x)
    {
        var at = random.Next(x.Rank);
        var parts = Enumerable.Range(2, 3).Where(size => x.Shape[at] % size == 0).ToArray();
        long[] shape = parts.Length > 0 && x.Rank < 4 ? [.. x.Shape[..at], parts[0], x.Shape[at] / parts[0], .. x.Shape[(at + 1)..]]
            : at + 1 < x.Rank ? [.. x.Shape[..at], x.Shape[at] * x.Shape[at + 1], .. x.Shape[(at + 2)..]]
            : [x.Shape[0], x.Count / x.Shape[0]];

        // One size can be left open, and a zero keeps that of the input.
        long[] given = [.. shape];
        given[random.Next(given.Length)] = Chance(0.4) ? -1 : given[0];
        given = given.Contains(-1) ? given : [.. shape];
        given[0] = given[0] == x.Shape[0] && Chance(0.4) ? 0 : given[0];
        Add(model.Node("Reshape", [x.Name, Integers(given)]), shape);
    }

    private void Transpose(Value x)
    {
        var order = Enumerable.Range(0, x.Rank).Select(axis => (long)axis).ToArray();
        random.Shuffle(order);
        Add(model.Node("Transpose", [x.Name], NodeAttributes.Make("perm", order)), [.. order.Select(axis => x.Shape[axis])]);
    }

    private void Unsqueeze(Value x)
    {
        if (x.Rank < 4)
        {
            var axis = random.Next(x.Rank + 1);
            Add(WithIntegers("Unsqueeze", x, "axes", 13, axis), [.. x.Shape[..axis], 1, .. x.Shape[axis..]]);
        }
    }

    private void Squeeze(Value x)
    {
        var axis = Array.IndexOf(x.Shape, 1L);
        if (axis >= 0 && x.Rank > 2)
        {
            Add(WithIntegers("Squeeze", x, "axes", 13, axis), [.. x.Shape[..axis], .. x.Shape[(axis + 1)..]]);
        }
    }

    private void Mean(Value x)
    {
        var axis = random.Next(1, Math.Max(2, x.Rank));
        var keeps = Chance(0.5) || x.Rank < 3;
        Add(WithIntegers("ReduceMean", x, "axes", 18, [axis], NodeAttributes.Make("keepdims", keeps ? 1 : 0)),
            [.. x.Shape[..axis], .. keeps ? [1] : (long[])[], .. x.Shape[(axis + 1)..]]);
    }

    private void Slice(Value x)
    {
        var axis = random.Next(x.Rank);
        var start = random.NextInt64(x.Shape[axis]);
        var end = random.NextInt64(start + 1, x.Shape[axis] + 3);
        var step = operatorSet >= 10 && Chance(0.3) ? 2 : 1;
        var stop = Math.Min(end, x.Shape[axis]);
        var name = operatorSet < 10
            ? model.Node(
                "Slice", [x.Name], NodeAttributes.Make("starts", [start]), NodeAttributes.Make("ends", [end]), NodeAttributes.Make("axes", [(long)axis]))
            : model.Node("Slice", [x.Name, Integers(start), Integers(end), Integers(axis), .. step > 1 ? [Integers(step)] : (string[])[]]);
        Add(name, [.. x.Shape[..axis], (stop - start + step - 1) / step, .. x.Shape[(axis + 1)..]]);
    }

    private void Split(Value x)
    {
        var axis = random.Next(x.Rank);
        var size = x.Shape[axis];
        if (size < 2)
        {
            return;
        }

        var first = size % 2 == 0 && Chance(0.5) ? size / 2 : random.NextInt64(1, size);
        var along = NodeAttributes.Make("axis", axis);
        var isEven = first * 2 == size && Chance(0.5);
        var names = isEven ? model.Nodes("Split", 2, [x.Name], [along, .. operatorSet >= 18 ? [NodeAttributes.Make("num_outputs", 2)] : (AttributeProto[])[]])
            : operatorSet < 13 ? model.Nodes("Split", 2, [x.Name], along, NodeAttributes.Make("split", [first, size - first]))
            : model.Nodes("Split", 2, [x.Name, Integers(first, size - first)], along);
        Add(names[0], [.. x.Shape[..axis], first, .. x.Shape[(axis + 1)..]]);
        Add(names[1], [.. x.Shape[..axis], size - first, .. x.Shape[(axis + 1)..]]);
    }

    private void Resize(Value x)
    {
        float[] scales = [1, 1, .. Enumerable.Range(2, x.Rank - 2).Select(_ => (float)random.Next(1, 3))];
        long[] shape = [.. x.Shape.Select((size, axis) => size * (long)scales[axis])];
        var mode = NodeAttributes.Make("mode", "nearest");
        AttributeProto[] places = Chance(0.5) ? []
            : [NodeAttributes.Make("coordinate_transformation_mode", "asymmetric"), NodeAttributes.Make("nearest_mode", "floor")];
        var given = new AttributeProto { Name = "scales", Type = AttributeProto.Types.AttributeType.Floats, Floats = { scales } };
        var name = operatorSet switch
        {
            < 9 => model.Node("Upsample", [x.Name], mode, given),
            9 => model.Node("Upsample", [x.Name, model.Floats(scales, scales.Length)], mode),
            10 => model.Node("Resize", [x.Name, model.Floats(scales, scales.Length)], mode),
            < 13 => model.Node("Resize", [x.Name, model.Floats([], 0), model.Floats(scales, scales.Length)], [mode, .. places]),
            _ => model.Node("Resize", [x.Name, string.Empty, model.Floats(scales, scales.Length)], [mode, .. places]),
        };
        Add(name, shape);
    }

    private void Softmax(Value x)
    {
        // The default axis was 1 before operator set 13.
        var axis = random.Next(x.Rank);
        Add(model.Node("Softmax", [x.Name], Chance(0.3) && (operatorSet >= 13 || x.Rank > 1) ? [] : [NodeAttributes.Make("axis", axis)]), x.Shape);
    }

    private void Pad(Value x)
    {
        long[] pads = [.. Enumerable.Range(0, 2 * x.Rank).Select(i => i % x.Rank < 2 ? 0L : random.Next(2))];
        var value = Chance(0.5) ? 0 : 0.5f;
        var mode = NodeAttributes.Make("mode", Chance(0.7) ? "constant" : Chance(0.5) ? "edge" : "reflect");
        if (mode.S.ToStringUtf8() == "reflect" && x.Shape.Skip(2).Any(size => size < 2))
        {
            return;
        }

        var name = operatorSet < 11 ? model.Node("Pad", [x.Name], mode, NodeAttributes.Make("pads", pads), NodeAttributes.Make("value", value))
            : model.Node("Pad", [x.Name, Integers(pads), .. value != 0 ? [model.Floats([value])] : (string[])[]], mode);
        Add(name, [.. x.Shape.Select((size, axis) => size + pads[axis] + pads[axis + x.Rank])]);
    }

    /// <summary>A node whose integers are an attribute before an operator set, and an input from it on.</summary>
    private string WithIntegers(string type, Value x, string name, int version, params long[] given) => WithIntegers(type, x, name, version, given, []);

    private string WithIntegers(string type, Value x, string name, int version, long[] given, params AttributeProto[] attributes) => operatorSet < version
        ? model.Node(type, [x.Name], [NodeAttributes.Make(name, given), .. attributes])
        : model.Node(type, [x.Name, Integers(given)], attributes);

    private void AddOutputs()
    {
        var read = model.Model.Graph.Node.SelectMany(node => node.Input).ToHashSet(StringComparer.Ordinal);
        var computed = model.Model.Graph.Node.SelectMany(node => node.Output).ToHashSet(StringComparer.Ordinal);

        // Values inside of the graph can be outputs too.
        foreach (var value in values.Where(value => computed.Contains(value.Name) && (!read.Contains(value.Name) || Chance(0.12))))
        {
            model.Output(value.Name);
        }

        if (model.Model.Graph.Output.Count == 0)
        {
            model.Output(model.Node("Identity", [values[^1].Name]));
        }
    }

    /// <summary>Stores constants in the ways that files do, and takes names from the nodes of some models.</summary>
    private void Store()
    {
        var graph = model.Model.Graph;
        model.Model.IrVersion = operatorSet switch { < 9 => 3, < 10 => 4, < 11 => 5, < 12 => 6, < 15 => 7, < 19 => 8, < 21 => 9, _ => 10 };
        var (isUnnamed, asInputs, asNodes) = (Chance(0.3), Chance(0.25), Chance(0.3));
        foreach (var tensor in graph.Initializer.ToList())
        {
            if (asNodes && Chance(0.5))
            {
                graph.Initializer.Remove(tensor);
                graph.Node.Insert(0, new NodeProto
                {
                    OpType = "Constant",
                    Name = tensor.Name + "/Constant",
                    Output = { tensor.Name },
                    Attribute = { new AttributeProto { Name = "value", Type = AttributeProto.Types.AttributeType.Tensor, T = tensor } },
                });
            }
            else if (model.Model.IrVersion < 4 || (asInputs && Chance(0.5)))
            {
                graph.Input.Add(new TensorType(tensor.Element(), [.. tensor.Dims.Select(size => (long?)size)]).Describe(tensor.Name));
            }
        }

        foreach (var node in graph.Node.Where(_ => isUnnamed))
        {
            node.Name = string.Empty;
        }
    }

    private void Add(string name, long[] shape) => values.Add(new Value(name, shape));

    private bool Chance(double share) => random.NextDouble() < share;

    private string Integers(params long[] numbers) => model.Integers(numbers, numbers.Length);

    private string Floats(params long[] shape) => model.Floats(Draw((int)shape.Aggregate(1L, (product, size) => product * size)), shape);

    /// <summary>A weight, sometimes one that another node has.</summary>
    private string Weight(params long[] shape)
    {
        var key = string.Join(',', shape);
        if (!weights.TryGetValue(key, out var made))
        {
            weights.Add(key, made = []);
        }

        if (made.Count == 0 || Chance(0.6))
        {
            made.Add(Floats(shape));
        }

        return made[random.Next(made.Count)];
    }

    private float[] Draw(int count)
    {
        var (kind, size) = (random.Next(6), MathF.Exp(Normal(random)));
        return [.. Enumerable.Range(0, count).Select(i => size * kind switch
        {
            // All near the largest, so that sums in 16 bits would saturate.
            0 => 1 - (0.1f * random.NextSingle()),
            1 => random.Next(3) == 0 ? 0 : Normal(random),
            2 => random.Next(10) == 0 ? 5 * Normal(random) : 0.2f * Normal(random),
            _ => 0.6f * Normal(random),
        })];
    }

    private sealed record Value(string Name, long[] Shape)
    {
        public int Rank => Shape.Length;

        public long Count => Shape.Aggregate(1L, (product, size) => product * size);
    }

    /// <summary>How a convolution or a pool goes over its input.</summary>
    private sealed record Window(long[] Kernel, long[] Outputs, AttributeProto[] Attributes)
    {
        public static Window Draw(Random random, long[] sizes, bool mayDilate)
        {
            var axes = sizes.Length;
            var (strides, pads, dilations) = (new long[axes], new long[2 * axes], new long[axes]);
            var (kernel, outputs) = (new long[axes], new long[axes]);
            var isSame = random.Next(8) == 0;
            for (var axis = 0; axis < axes; axis++)
            {
                kernel[axis] = random.NextInt64(1, Math.Min(3, sizes[axis]) + 1);
                dilations[axis] = mayDilate && !isSame && 2 * (kernel[axis] - 1) < sizes[axis] && random.Next(4) == 0 ? 2 : 1;

                // ONNX Runtime computes negative padding where a step is longer than the kernel, and refuses it.
                strides[axis] = isSame && kernel[axis] == 1 ? 1 : random.Next(1, 3);
                pads[axis] = kernel[axis] > 1 ? random.Next(2) : 0;
                pads[axis + axes] = kernel[axis] > 1 ? random.Next(2) : 0;
                var reach = (dilations[axis] * (kernel[axis] - 1)) + 1;
                outputs[axis] = isSame ? (sizes[axis] + strides[axis] - 1) / strides[axis]
                    : ((sizes[axis] + pads[axis] + pads[axis + axes] - reach) / strides[axis]) + 1;
            }

            var padding = isSame ? NodeAttributes.Make("auto_pad", "SAME_UPPER") : NodeAttributes.Make("pads", pads);
            AttributeProto[] attributes = [NodeAttributes.Make("strides", strides), padding];
            return new Window(kernel, outputs, dilations.Any(size => size > 1) ? [.. attributes, NodeAttributes.Make("dilations", dilations)] : attributes);
        }
    }
}
