using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Shared;

namespace Nibble.Onnx.Tests.Graphs.Lifting;

/// <summary>Small random models of old operator sets that use operators which changed later.</summary>
internal sealed class OldModels
{
    private static readonly (string Name, int From, int Before, Func<OldModels, bool> Step)[] Steps =
    [
        ("Softmax", 7, 13, model => model.Softmax("Softmax")), ("LogSoftmax", 7, 13, model => model.Softmax("LogSoftmax")),
        ("Hardmax", 7, 13, model => model.Softmax("Hardmax")), ("Squeeze", 7, 13, model => model.Squeeze()),
        ("Unsqueeze", 7, 13, model => model.Unsqueeze()),
        ("ReduceSum", 7, 13, model => model.ReduceSum()), ("Split", 7, 13, model => model.Split()), ("Clip", 7, 11, model => model.Clip()),
        ("Pad", 7, 11, model => model.Pad()), ("Slice", 7, 10, model => model.Slice()), ("TopK", 7, 10, model => model.TopK()),
        ("Dropout", 7, 12, model => model.Dropout()), ("BatchNormalization", 7, 17, model => model.BatchNormalization()),
        ("Upsample", 7, 10, model => model.Upsample()), ("Resize", 10, 11, model => model.Resize()), ("Scatter", 9, 11, model => model.Scatter()),
        ("ImageScaler", 7, 10, model => model.ImageScaler()), ("RoiAlign", 10, 16, model => model.RoiAlign()),
        ("MaxPool", 7, 17, model => model.Pool("MaxPool")),
        ("AveragePool", 7, 17, model => model.Pool("AveragePool")), ("If", 7, 17, model => model.If()), ("LeakyRelu", 7, 17, model => model.LeakyRelu()),
        ("Flatten", 7, 17, model => model.Flatten()),
    ];

    private static readonly int[] Ranks = [1, 2, 3, 4, 4, 4, 5];

    private readonly TestModel model;
    private readonly Random random;
    private readonly int version;
    private string value;
    private List<long> shape;

    private OldModels(int seed)
    {
        random = new Random(seed);
        version = random.Next(7, 17);
        model = new TestModel(version);
        shape = [.. Enumerable.Range(0, Ranks[random.Next(Ranks.Length)]).Select(_ => (long)random.Next(1, 5))];
        value = model.Input("x", OnnxType.Float32, shape.Select(size => (long?)size));
    }

    /// <summary>The names of the operators.</summary>
    public static IEnumerable<string> Operators => Steps.Select(step => step.Name);

    /// <summary>Makes a model.</summary>
    /// <param name="seed">Chooses it.</param>
    /// <returns>The model, and the operators of its nodes.</returns>
    public static (ModelProto Model, string[] Operators) Make(int seed)
    {
        var old = new OldModels(seed);
        var used = new List<string>();
        var isTyped = old.random.Next(2) == 0;
        for (var i = 0; used.Count < 3 && i < 20; i++)
        {
            var (name, from, before, step) = Steps[old.random.Next(Steps.Length)];
            if (from <= old.version && old.version < before && step(old))
            {
                used.Add(name);
                if (isTyped)
                {
                    old.model.Type(old.value, OnnxType.Float32, old.shape);
                }
            }
        }

        old.model.Output(old.model.Node("Identity", [old.value]));
        return (old.model.Model, [$"operator set {old.version}", .. used]);
    }

    private bool Softmax(string type)
    {
        if (shape.Count == 0)
        {
            return false;
        }

        var axis = random.Next(version >= 11 ? -shape.Count : 0, shape.Count);
        value = shape.Count > 1 && random.Next(4) == 0 ? model.Node(type, [value]) : model.Node(type, [value], NodeAttributes.Make("axis", axis));
        return true;
    }

    private bool Squeeze()
    {
        int[] ones = [.. Enumerable.Range(0, shape.Count).Where(axis => shape[axis] == 1)];
        if (ones.Length == 0)
        {
            return false;
        }

        if (random.Next(3) == 0)
        {
            value = model.Node("Squeeze", [value]);
            shape.RemoveAll(size => size == 1);
            return true;
        }

        var squeezed = ones[random.Next(ones.Length)];
        value = model.Node("Squeeze", [value], NodeAttributes.Make("axes", [Signed(squeezed, shape.Count)]));
        shape.RemoveAt(squeezed);
        return true;
    }

    private bool Unsqueeze()
    {
        if (shape.Count > 3)
        {
            return false;
        }

        var axis = random.Next(shape.Count + 1);
        value = model.Node("Unsqueeze", [value], NodeAttributes.Make("axes", [Signed(axis, shape.Count + 2), shape.Count + 1]));
        shape.Insert(axis, 1);
        shape.Add(1);
        return true;
    }

    private bool ReduceSum()
    {
        int[] axes = [.. Enumerable.Range(0, shape.Count).Where(_ => random.Next(2) == 0)];
        var keeps = random.Next(2);
        value = model.Node("ReduceSum", [value], axes.Length == 0 ? [NodeAttributes.Make("keepdims", keeps)]
            : [NodeAttributes.Make("keepdims", keeps), NodeAttributes.Make("axes", axes.Select(axis => Signed(axis, shape.Count)))]);
        axes = axes.Length == 0 ? [.. Enumerable.Range(0, shape.Count)] : axes;
        shape = [.. shape.Select((size, axis) => (size, axis)).Where(item => keeps == 1 || !axes.Contains(item.axis))
            .Select(item => axes.Contains(item.axis) ? 1 : item.size)];
        return true;
    }

    private bool Split()
    {
        int[] axes = [.. Enumerable.Range(0, shape.Count).Where(axis => shape[axis] > 1)];
        if (axes.Length == 0)
        {
            return false;
        }

        var axis = axes[random.Next(axes.Length)];
        var first = shape[axis] % 2 == 0 && random.Next(2) == 0 ? 0 : random.NextInt64(1, shape[axis]);
        value = model.Nodes("Split", 2, [value], first == 0 ? [NodeAttributes.Make("axis", Signed(axis, shape.Count))]
            : [NodeAttributes.Make("axis", Signed(axis, shape.Count)), NodeAttributes.Make("split", [first, shape[axis] - first])])[1];
        shape[axis] -= first == 0 ? shape[axis] / 2 : first;
        return true;
    }

    private bool Clip()
    {
        AttributeProto[] bounds = [NodeAttributes.Make("min", -0.5f), NodeAttributes.Make("max", 0.7f)];
        value = model.Node("Clip", [value], [.. bounds.Where(_ => random.Next(3) > 0)]);
        return true;
    }

    private bool Pad()
    {
        if (shape.Count == 0)
        {
            return false;
        }

        var mode = random.Next(4) switch { 0 => "edge", 1 => "reflect", _ => "constant" };
        long[] pads = [.. Enumerable.Range(0, 2 * shape.Count).Select(i => (long)random.Next(mode == "reflect" ? (int)shape[i % shape.Count] : 3))];
        var attributes = new List<AttributeProto> { NodeAttributes.Make("pads", pads) };
        if (mode != "constant" || random.Next(2) == 0)
        {
            attributes.Add(NodeAttributes.Make("mode", mode));
        }

        if (random.Next(2) == 0)
        {
            attributes.Add(NodeAttributes.Make("value", 0.25f));
        }

        value = model.Node("Pad", [value], [.. attributes]);
        shape = [.. shape.Select((size, axis) => size + pads[axis] + pads[axis + shape.Count])];
        return true;
    }

    private bool Slice()
    {
        if (shape.Count == 0 || shape.Contains(0))
        {
            return false;
        }

        var axis = random.Next(shape.Count);
        var start = random.NextInt64(shape[axis]);
        var end = random.NextInt64(start + 1, shape[axis] + 1);
        var starts = new List<long> { random.Next(2) == 0 ? start : start - shape[axis] };
        var ends = new List<long> { end < shape[axis] ? end : random.Next(2) == 0 ? int.MaxValue : end };
        if (random.Next(2) == 0)
        {
            value = model.Node("Slice", [value], NodeAttributes.Make("starts", starts), NodeAttributes.Make("ends", ends), NodeAttributes.Make("axes", [axis]));
        }
        else
        {
            starts.InsertRange(0, Enumerable.Repeat(0L, axis));
            ends.InsertRange(0, shape.Take(axis));
            value = model.Node("Slice", [value], NodeAttributes.Make("starts", starts), NodeAttributes.Make("ends", ends));
        }

        shape[axis] = end - start;
        return true;
    }

    private bool TopK()
    {
        if (shape.Count == 0)
        {
            return false;
        }

        var axis = random.Next(shape.Count);
        var count = random.NextInt64(1, shape[axis] + 1);
        var outputs = model.Nodes("TopK", 2, [value], axis == shape.Count - 1 ? [NodeAttributes.Make("k", count)]
            : [NodeAttributes.Make("axis", axis), NodeAttributes.Make("k", count)]);
        value = outputs[0];
        model.Output(outputs[1], OnnxType.Int64);
        shape[axis] = count;
        return true;
    }

    private bool Dropout()
    {
        value = model.Nodes("Dropout", random.Next(1, 3), [value], random.Next(2) == 0 ? [] : [NodeAttributes.Make("ratio", 0.3f)])[0];
        return true;
    }

    private bool BatchNormalization()
    {
        if (shape.Count < 2)
        {
            return false;
        }

        var channels = (int)shape[1];
        string[] inputs = [value, Numbers(), Numbers(), Numbers(), Numbers()];
        value = model.Node(
            "BatchNormalization", inputs, version < 9 && random.Next(2) == 0 ? NodeAttributes.Make("spatial", 1L) : NodeAttributes.Make("epsilon", 1e-3f));
        return true;

        string Numbers() => model.Floats(Random(channels), channels);
    }

    private bool Upsample()
    {
        if (Scales([1, 1.5f, 2, 3]) is not { } resampling)
        {
            return false;
        }

        value = version < 9 ? model.Node(
                "Upsample",
                [value],
                resampling.Mode,
                new AttributeProto { Name = "scales", Type = AttributeProto.Types.AttributeType.Floats, Floats = { resampling.Scales } })
            : model.Node("Upsample", [value, model.Floats(resampling.Scales, resampling.Scales.Length)], resampling.Mode);
        return true;
    }

    private bool Resize()
    {
        float[][] choices = [[1, 2, 2.7f], [0.5f, 0.6f, 1], [0.4f, 0.5f, 1, 1.7f, 2]];
        if (Scales(choices[random.Next(3)]) is not { } resampling)
        {
            return false;
        }

        var scales = model.Floats(resampling.Scales, resampling.Scales.Length);
        value = model.Node("Resize", [value, random.Next(2) == 0 ? scales : model.Node("Identity", [scales])], resampling.Mode);
        return true;
    }

    /// <summary>Scales of a resampling, which the shape follows, and its mode.</summary>
    private (float[] Scales, AttributeProto Mode)? Scales(float[] choices)
    {
        if (shape.Count == 0)
        {
            return null;
        }

        var isLinear = shape.Count == 4 && random.Next(2) == 0;
        float[] scales = [.. shape.Select((size, axis) => isLinear && axis < 2 ? 1 : choices[random.Next(choices.Length)])];
        List<long> sizes = [.. shape.Zip(scales, (size, scale) => (long)(size * scale))];
        if (sizes.Contains(0))
        {
            return null;
        }

        shape = sizes;
        return (scales, NodeAttributes.Make("mode", isLinear ? "linear" : "nearest"));
    }

    private bool Scatter()
    {
        if (shape.Count == 0)
        {
            return false;
        }

        var axis = random.Next(shape.Count);
        var sizes = shape.ToArray();
        sizes[axis] = 1;
        var count = (int)sizes.Aggregate(1L, (product, size) => product * size);
        var indices = model.Integers([.. Enumerable.Range(0, count).Select(_ => random.NextInt64(shape[axis]))], sizes);
        value = model.Node("Scatter", [value, indices, model.Floats(Random(count), sizes)], NodeAttributes.Make("axis", axis));
        return true;
    }

    private bool ImageScaler()
    {
        if (shape.Count != 4)
        {
            return false;
        }

        value = model.Node("ImageScaler", [value], NodeAttributes.Make("scale", 0.5f), new AttributeProto
        {
            Name = "bias",
            Type = AttributeProto.Types.AttributeType.Floats,
            Floats = { Random((int)shape[1]) },
        });
        return true;
    }

    private bool RoiAlign()
    {
        if (shape.Count != 4)
        {
            return false;
        }

        var regions = model.Floats([0, 0, 2.5f, 1.5f, 0.5f, 0.5f, 3, 3], 2, 4);
        value = model.Node(
            "RoiAlign",
            [value, regions, model.Integers([0, shape[0] - 1], 2)],
            NodeAttributes.Make("output_height", 2L),
            NodeAttributes.Make("output_width", 3L));
        shape = [2, shape[1], 2, 3];
        return true;
    }

    private bool Pool(string type)
    {
        if (shape.Count != 4 || shape[2] < 2 || shape[3] < 2)
        {
            return false;
        }

        value = model.Node(type, [value], NodeAttributes.Make("kernel_shape", [2L, 2L]));
        (shape[2], shape[3]) = (shape[2] - 1, shape[3] - 1);
        return true;
    }

    private bool If()
    {
        if (shape.Count < 2 || version >= 13)
        {
            return false;
        }

        var condition = model.Constant(new TensorProto { DataType = (int)OnnxType.Bool, Int32Data = { random.Next(2) } });
        value = model.Node(
            "If",
            [condition],
            model.Inside("then_branch", () => model.Node("Softmax", [version < 11 ? model.Node("Clip", [value], NodeAttributes.Make("max", 0.5f)) : value])),
            model.Inside("else_branch", () => model.Node(
                "Squeeze",
                [model.Node("Unsqueeze", [model.Node("LogSoftmax", [value])], NodeAttributes.Make("axes", [0L]))],
                NodeAttributes.Make("axes", [0L]))));
        return true;
    }

    private bool LeakyRelu()
    {
        value = model.Node("LeakyRelu", [value], NodeAttributes.Make("alpha", 0.2f));
        return true;
    }

    private bool Flatten()
    {
        if (shape.Count < 2)
        {
            return false;
        }

        value = model.Node("Flatten", [value]);
        shape = [shape[0], shape.Skip(1).Aggregate(1L, (product, size) => product * size)];
        return true;
    }

    private float[] Random(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() + 0.1f)];

    /// <summary>An axis, counted from the end at times where the operator set allows that.</summary>
    private long Signed(int axis, int rank) => version >= 11 && random.Next(2) == 0 ? axis - rank : axis;
}
