using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Tests.Report;

/// <summary>Advice and studies of layers without a probe, shaped like those of a small language model.</summary>
internal static class FakeAdvice
{
    private static readonly string[] Projections = ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"];

    /// <summary>The advice on options of three widths, one of which has no finite loss.</summary>
    /// <param name="constraints">The limits that options have to keep. Default: none.</param>
    public static AdviceDocument Document(Constraints? constraints = null)
    {
        List<PlannedOption> options =
        [
            Option(Method.Ptq, 8, 0.0004, Evidence.Measured),
            Option(Method.Ptq, 4, 0.021, Evidence.Measured),
            Option(Method.Ptq, 4, 0.012, Evidence.Typical, "w4a16-g32-gptaq"),
            Option(Method.Qat, 4, 0.0031, Evidence.Extrapolated),
            Option(Method.Hybrid, 4, 0.0052, Evidence.Extrapolated, "hybrid-attention-qat"),
            Option(Method.Ptq, 2, double.PositiveInfinity, Evidence.Measured),
            Option(Method.Qat, 2, 0.31, Evidence.Extrapolated),
        ];
        var limits = constraints ?? new Constraints();
        var result = new AdvisorResult(
            ModelShape.Known[0], 1.416, 40, 20_480, Estimate.Around(-0.004, 0.002), options, Decision.Of(options, limits, 0.01),
            [.. options.Where(option => option.Trains).Select(option => Curve(option.Name, option.Loss.Value)), Curve("float control", -0.004)],
            [.. Layers().SelectMany(layer => ((int[])[8, 4, 2]).Select(bits => new LayerDistance(
                layer.Name, options.First(option => option.Bits == bits).Recipe.Name, new Distance(layer.Size / bits, 0, layer.Size / bits, 0))))],
            112.4, new Hardware(0.21e12, 18e9), 4);
        return AdviceDocument.Of(result, new AdviceRequest(
            "stories260K", 1_056_768, "TinyStories, train (1,048,576 tokens)", "TinyStories, validation", limits, 120,
            "nibble advise models/stories260K --data data/TinyStoriesV2-GPT4-train.txt --eval-data data/TinyStoriesV2-GPT4-valid.txt --output advice"));
    }

    /// <summary>A study of two widths of weights and one of inputs.</summary>
    public static SensitivityDocument Sensitivity() => new(
        SensitivityDocument.CurrentSchema, "stories260K", TaskConfig.NameOf(ModelTask.LanguageModelling), "TinyStories, validation", 256, 40,
        [.. Layers().SelectMany(layer => ((string[])["w2a16-g32-gptaq", "w4a16-g32-gptaq", "input8"]).Select((change, i) => new SensitivityEntry(
            layer.Name, change, layer.Size / (i + 1), 0.001, layer.Size / (i + 1), 0.001, 0.2, 0.3)))],
        [new SensitivityCorrelation("w2a16-g32-gptaq", 0.81, 0.79), new SensitivityCorrelation("w4a16-g32-gptaq", 0.64, -0.21)]);

    private static IEnumerable<(string Name, double Size)> Layers() => Enumerable.Range(0, 5).SelectMany(
        block => Projections.Select((projection, i) => ($"model.layers.{block}.{projection}", 0.0003 * Math.Exp((block * 0.7) + (i * 0.4)))));

    private static ProbeCurve Curve(string name, double end) =>
        new(name, [.. ((int[])[4, 12, 36]).Select(steps => new LengthPoint(steps, end + (0.4 / steps), 0.01))]);

    private static PlannedOption Option(Method method, int bits, double loss, Evidence evidence, string? recipe = null)
    {
        var planned = RecipePresets.Parse(recipe ?? $"w{bits}a16-g32");
        var name = $"{method.ToString().ToLowerInvariant()} {planned.Name}";
        var trains = method != Method.Ptq;
        return new PlannedOption
        {
            Name = name,
            Method = method,
            Recipe = planned,
            Bits = bits,
            Steps = trains ? 300 : 0,
            Loss = Estimate.Around(loss, 0.002),
            Quantization = Estimate.Around(loss + (trains ? 0.004 : 0), 0.002),
            Evidence = evidence,
            Seconds = trains ? 95 : 1.4,
            PeakBytes = trains ? 812_000_000 : 341_000_000,
            Bytes = 131_072 + (bits * 28_416),
            Tokens = trains ? 614_400 : 65_536,
            NeedsData = true,
            Command = $"nibble {(trains ? "qat" : "ptq")} models/stories260K --recipe {planned.Name} --data data/TinyStoriesV2-GPT4-train.txt --output out",
        };
    }
}
