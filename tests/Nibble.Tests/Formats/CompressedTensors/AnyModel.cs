using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Tests.Recipes;

namespace Nibble.Tests.Formats.CompressedTensors;

/// <summary>Generates small quantized models of every scheme.</summary>
internal static class AnyModel
{
    private static readonly Gen<float> Scale = Gen.Float[1e-6f, 1e3f];

    private static readonly Gen<QuantizedTensor> Weight =
        from scheme in AnyRecipe.Weights
        from rows in Gen.Int[1, 9]
        from columns in Gen.Int[1, 70]
        let groups = QuantizedTensor.GroupCount(rows, columns, scheme.Granularity)
        from codes in Code(scheme).Array[rows * columns]
        from scales in Scale.Array[groups]
        from zeroPoints in Code(scheme).Array[scheme.Symmetric ? 0 : groups]
        from scattered in Gen.Bool
        from order in Gen.Shuffle(Enumerable.Range(0, columns).ToArray())
        select new QuantizedTensor(
            rows,
            columns,
            scheme,
            codes,
            Array.ConvertAll(scales, scale => Round(scheme, scale)),
            zeroPoints,
            scattered && scheme.Granularity is PerGroup ? Array.ConvertAll(order, position => position / Math.Min(((PerGroup)scheme.Granularity).Size, columns))
                : null);

    private static readonly Gen<ActivationQuantization?> Input =
        from rule in AnyRecipe.Activations
        from some in Gen.Bool
        from scale in Scale
        from zeroPoint in Code(rule.Scheme)
        select !some ? null
            : rule.Scheme.Granularity is PerToken ? new ActivationQuantization(rule.Scheme, null)
            : new ActivationQuantization(rule.Scheme, new QuantizationParameters(Round(rule.Scheme, scale), rule.Scheme.Symmetric ? 0 : zeroPoint));

    private static readonly Gen<FloatTensor> Float =
        from type in Gen.OneOf(ElementType.F32, ElementType.F16, ElementType.BF16)
        from shape in Gen.Int[1, 5].Array[0, 3]
        from values in Gen.Single.Array[shape.Aggregate(1, (count, size) => count * size)]
        select new FloatTensor(string.Empty, shape, Array.ConvertAll(values, value => float.IsFinite(type.Round(value)) ? type.Round(value) : 1), type);

    public static Gen<QuantizedModel> Model { get; } =
        from weights in Weight.Array[0, 4]
        from inputs in Input.Array[4]
        from transforms in Gen.Enum<InputTransform>().Array[4]
        from methods in AnyRecipe.Method.Array[8]
        from floats in Float.Array[0, 3]
        from recipe in AnyRecipe.Recipe
        from keys in Keys(recipe.KeyValueCache)
        from seed in Gen.Long
        from metric in Gen.Double
        select new QuantizedModel(
            """{ "model_type": "llama", "rms_norm_eps": 1e-05, "quantization_config": null, "nested": { "π": [1, 2.50] } }""",
            [.. weights.Select((weight, index) => new QuantizedLayer($"model.layers.{index}.proj", weight, inputs[index])
            {
                InputTransform = transforms[index],
                WeightMethod = methods[index],
                InputMethod = inputs[index] is null ? null : methods[4 + index],
            })],
            [.. floats.Select((tensor, index) => tensor with { Name = $"model.{(char)('z' - index)}.weight" })],
            recipe,
            new Provenance("0.1.0", "ptq", seed, new Dictionary<string, string> { ["b"] = "2", ["a"] = "1" }, new Dictionary<string, double>
            { ["perplexity"] = metric, ["error"] = 0.1 }),
            TokenizerFolder: string.Empty)
        {
            StaticKeys = [.. keys.Select((block, index) => block with { Name = $"model.layers.{index}.self_attn" })],
        };

    private static Gen<KeyQuantization[]> Keys(KeyValueCacheRule? rule) => rule is not { HasStaticKeys: true, Keys: { } scheme }
        ? Gen.Const(Array.Empty<KeyQuantization>())
        : (from heads in Gen.Int[1, 3]
           from size in Gen.Int[1, 5]
           from scales in Scale.Array[heads * size]
           from zeroPoints in Code(scheme).Array[scheme.Symmetric ? 0 : heads * size]
           select new KeyQuantization(string.Empty, heads, Array.ConvertAll(scales, scale => Round(scheme, scale)), zeroPoints)).Array[1, 3];

    private static Gen<sbyte> Code(QuantizationScheme scheme) => Gen.Int[scheme.Codes.Min, scheme.Codes.Max].Select(code => (sbyte)code);

    private static float Round(QuantizationScheme scheme, float scale) => QuantizationParameters.RoundScale(scale, scheme.ScalePrecision);
}
