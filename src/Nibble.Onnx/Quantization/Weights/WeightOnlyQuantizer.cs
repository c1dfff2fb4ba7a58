using System.Numerics;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;
using Nibble.Recipes;

namespace Nibble.Onnx.Quantization.Weights;

/// <summary>Quantizes the weights of a graph and leaves its activations float: products by constants become <c>MatMulNBits</c>.</summary>
internal sealed class WeightOnlyQuantizer
{
    private const int SmallestBlock = 16;
    private const int LargestBlock = 256;

    /// <summary>The place of the bias among the inputs of <c>MatMulNBits</c>, after the zero points and the group index.</summary>
    private const int BiasInput = 5;

    private readonly OnnxGraph graph;
    private readonly WeightOnlyOptions options;
    private readonly StoredConvolutions convolutions;
    private readonly Dictionary<(string Weight, bool IsTransposed), (IReadOnlyList<string> Inputs, int Block)> packed = [];
    private readonly CancellationToken cancellation;

    private WeightOnlyQuantizer(OnnxGraph graph, WeightOnlyOptions options, CancellationToken cancellation)
    {
        this.graph = graph;
        this.options = options;
        this.cancellation = cancellation;
        convolutions = new StoredConvolutions(graph);
    }

    /// <summary>Quantizes a graph in place.</summary>
    /// <param name="graph">The graph, with constants folded.</param>
    /// <param name="options">The codes and how they are chosen.</param>
    /// <param name="objection">Why a node must stay as it is; null if it need not. Default: no node must.</param>
    /// <param name="cancellation">Stops between nodes.</param>
    /// <returns>A decision for each node of the given graph, in order.</returns>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of range.</exception>
    /// <exception cref="NibbleException">
    /// A constant does not hold what its shape requires, or the algorithm needs the inputs of a node that were not calibrated.
    /// </exception>
    public static IReadOnlyList<NodeDecision> Apply(
        OnnxGraph graph, WeightOnlyOptions options, Func<NodeProto, string?>? objection = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(options);
        if (options.Bits is not (2 or 4 or 8))
        {
            throw new ArgumentOutOfRangeException(nameof(options), options.Bits, "MatMulNBits takes codes of 2, 4 or 8 bits.");
        }

        if (options.BlockSize is < SmallestBlock or > LargestBlock || !BitOperations.IsPow2(options.BlockSize))
        {
            throw new ArgumentOutOfRangeException(
                nameof(options), options.BlockSize, $"Blocks of MatMulNBits have a power of two of values, {SmallestBlock} to {LargestBlock}.");
        }

        var quantizer = new WeightOnlyQuantizer(graph, options, cancellation);
        return WeightPass.Run(graph, quantizer.Product, quantizer.Convolution, objection ?? (_ => null), cancellation);
    }

    private NodeDecision Product(ConstantProduct product, IReadOnlyList<ConstantProduct> shared)
    {
        var key = (product.Weight.Name, product.IsTransposed);
        if (!packed.TryGetValue(key, out var constants))
        {
            constants = Pack(product, shared);
            packed.Add(key, constants);
        }

        var decision = new NodeDecision(product.Node.Name, product.Node.OpType, null);
        product.Replace(
            graph,
            "MatMulNBits",
            constants.Inputs,
            BiasInput,
            NodeAttributes.Make("K", (long)product.Inputs),
            NodeAttributes.Make("N", (long)product.Outputs),
            NodeAttributes.Make("bits", (long)options.Bits),
            NodeAttributes.Make("block_size", (long)constants.Block),
            NodeAttributes.Make("accuracy_level", (long)options.Accuracy));
        return decision;
    }

    private string Convolution(NodeProto node) =>
        "convolutions have no weight-only kernel" + (options.StoreConvolutions && convolutions.Apply(node) ? "; its weight is stored in bytes" : string.Empty);

    /// <summary>Quantizes a matrix into the constants that <c>MatMulNBits</c> reads.</summary>
    private (IReadOnlyList<string> Inputs, int Block) Pack(ConstantProduct product, IReadOnlyList<ConstantProduct> shared)
    {
        var tensor = Quantize.Matrix(
            product.Rows(),
            product.Outputs,
            product.Inputs,
            new QuantizationScheme(options.Bits, options.Symmetric, Granularity.Group(options.BlockSize)),
            new MatrixOptions
            {
                Algorithm = options.Algorithm,
                Range = options.Algorithm == WeightRounding.RoundToNearest ? WeightRange.Mse : null,
                Hessian = new WeightAlgorithms(Rounding: options.Algorithm).NeedsData ? Hessian(product, shared) : null,
                Threads = options.Threads,
            },
            progress: null,
            cancellation);
        var weight = UnsignedWeight.Of(tensor)!;
        var block = weight.Block!.Value;
        var blocks = weight.Blocks(block);
        List<string> inputs = [
            Constant(UnsignedWeight.CodesName, OnnxType.UInt8, [weight.Outputs, blocks, block * weight.Bits / 8], weight.PackBlocks(block)),
            Constant(UnsignedWeight.ScalesName, OnnxType.Float32, [weight.Outputs, blocks], weight.BlockScales(block))];
        if (!weight.Symmetric)
        {
            inputs.Add(Constant(
                UnsignedWeight.ZeroPointsName, OnnxType.UInt8, [weight.Outputs, ((blocks * weight.Bits) + 7) / 8], weight.PackZeroPoints(block)));
        }

        return (inputs, block);

        string Constant(string kind, OnnxType type, long[] shape, byte[] bytes) =>
            graph.AddConstant(TensorValues.Make($"{product.Weight.Name}.{kind}", type, shape, bytes));
    }

    /// <summary>The mean Hessian of the inputs of all products by one matrix.</summary>
    private SquareMatrix Hessian(ConstantProduct product, IReadOnlyList<ConstantProduct> shared)
    {
        var values = shared.Select(other => other.Input).Distinct(StringComparer.Ordinal).ToList();
        var mean = new SquareMatrix(product.Inputs);
        foreach (var value in values)
        {
            var hessian = options.Hessian?.Invoke(value) ?? throw new NibbleException(
                $"The node '{product.Node.Name}' reads the value '{value}', which was not calibrated, and the algorithm "
                + $"{new WeightAlgorithms(Rounding: options.Algorithm).Names[0]} needs it. Calibrate with data that reach the node, "
                + "or use round to nearest or HQQ.");
            if (hessian.Size != product.Inputs)
            {
                throw new NibbleException(
                    $"The Hessian of the value '{value}' has {hessian.Size} columns, but the node '{product.Node.Name}' has {product.Inputs} inputs.");
            }

            for (var row = 0; row < mean.Size; row++)
            {
                var sums = mean.Row(row);
                var added = hessian.Row(row);
                for (var column = 0; column < sums.Length; column++)
                {
                    sums[column] += added[column] / values.Count;
                }
            }
        }

        return mean;
    }
}
