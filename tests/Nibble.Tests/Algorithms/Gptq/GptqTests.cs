using Nibble.Algorithms.Gptq;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Tests.Kernels;
using Solver = Nibble.Algorithms.Gptq.Gptq;

namespace Nibble.Tests.Algorithms.Gptq;

public class GptqTests
{
    private static readonly Gen<QuantizationScheme> Schemes =
        from scheme in Gens.Scheme
        from granularity in Gen.Frequency((1, Gen.Const(Granularity.Tensor)), (1, Gen.Const(Granularity.Channel)), (4, Gen.Int[1, 60].Select(Granularity.Group)))
        from precision in Gen.Enum<ScalePrecision>()
        let placed = scheme.Ternary ? QuantizationScheme.CreateTernary(granularity) : new QuantizationScheme(scheme.Bits, scheme.Symmetric, granularity)
        select placed with { ScalePrecision = precision };

    private static readonly Gen<GptqOptions> Options =
        from range in Gen.Enum<WeightRange>()
        from order in Gen.Enum<ActivationOrder>()
        from importance in Gen.Bool
        select new GptqOptions { Range = range, Order = order, WeighByImportance = importance };

    [Fact]
    public void EqualsThePapersEquationsCodeForCode()
    {
        var compared = 0;
        Gen.Select(RandomLayer.Any, Schemes, Options).Sample(
            (layer, scheme, options) =>
            {
                var expected = PaperGptq.Quantize(layer, scheme, options.Order, options.Range, options.WeighByImportance);
                var found = Solver.Quantize(layer.Weights, layer.Rows, layer.Columns, scheme, Factor(layer, options), options);
                var same = found.Weight.Codes.AsSpan().SequenceEqual(expected.Codes);
                Console.WriteLine($"{same} {expected.Margin:E2} {scheme} {options} {layer.Rows}x{layer.Columns} {found.Weight.Codes.Zip(expected.Codes).Count(p => p.First != p.Second)} loss {found.Loss} {expected.Loss}");
                Interlocked.Increment(ref compared);
            },
            iter: 100, threads: 1);
        Assert.True(compared > 50, $"only {compared} layers could be compared");
    }

    private static HessianFactor Factor(RandomLayer layer, GptqOptions options) => layer.Factor(options.Order == ActivationOrder.None ? null : layer.Order);
}
