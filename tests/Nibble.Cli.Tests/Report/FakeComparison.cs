using Nibble.Cli.Report;
using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Cli.Tests.Report;

/// <summary>Results of a comparison that never ran, shaped like those of a small language model.</summary>
internal static class FakeComparison
{
    public const double FloatPerplexity = 4.12;

    private const string Prompt = "Once upon a time, there was a little";

    private static readonly string[] Projections =
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

    /// <summary>PTQ is enough at 8 and 4 bits, QAT pays at 3 bits, and neither is good enough at 2 bits.</summary>
    public static ComparisonResult Typical() => Of(
        Control(-0.012),
        Run(Method.Ptq, 8, 0.0002),
        Run(Method.Qat, 8, -0.0101),
        Run(Method.Ptq, 4, 0.0089),
        Run(Method.Qat, 4, -0.0032),
        Run(Method.Ptq, 3, 0.2127),
        Run(Method.Qat, 3, 0.0544),
        Run(Method.Ptq, 2, 4.83),
        Run(Method.Qat, 2, 0.317));

    /// <summary>Long names and points that lie close together, at a width that PTQ breaks.</summary>
    public static ComparisonResult Crowded() => Of(
        Control(-0.08),
        Run(Method.Ptq, 8, 0.001, "w8a8-token") with { ActivationBits = 8 },
        Run(Method.Qat, 8, -0.07, "w8a8-token") with { ActivationBits = 8 },
        Run(Method.Ptq, 4, 0.05, "w4a16-g32-mse"),
        Run(Method.Qat, 4, -0.04, "w4a16-g32-mse"),
        Run(Method.Ptq, 4, 0.09, "w4a16-channel") with { BitsPerWeight = 4.1 },
        Run(Method.Qat, 4, -0.03, "w4a16-channel") with { BitsPerWeight = 4.1 },
        Run(Method.Ptq, 4, 0.12, "w4a8-g32") with { ActivationBits = 8 },
        Run(Method.Qat, 4, -0.02, "w4a8-g32") with { ActivationBits = 8 },
        Run(Method.Ptq, 2, double.NaN),
        Run(Method.Qat, 2, 0.2));

    public static ComparisonResult Of(params IReadOnlyList<ComparisonRun> runs) => new()
    {
        Date = new DateTimeOffset(2026, 3, 14, 15, 9, 26, TimeSpan.FromHours(1)),
        CommandLine = "nibble compare stories260K --recipes w8a16 w4a16-g32 w3a16-g32 w2a16-g32 --seed 42 --output report.html",
        Seed = 42,
        Task = ModelTask.LanguageModelling,
        Model = new ComparedModel("stories260K", "models/stories260K", "llama", 260_032, 227_328, 1_056_768),
        Training = new TrainingData("TinyStories, train", 1_048_576, "tokens"),
        Evaluation = new EvaluationData("TinyStories, validation", 64, "windows", 16_320, 256),
        Qat = new QatSettings(),
        Machine = new MachineInfo("Example CPU 3000", 8, "Linux 6.1", 16_000_000_000),
        Versions = new VersionInfo("0.1.0", "10.0.1", "0.107.0", "2.10.0"),
        Prompt = Prompt,
        Baseline = new Baseline(
            32, FloatPerplexity, new Dictionary<string, double> { ["perplexity"] = FloatPerplexity }, 1_056_768, 1.9, 310_000_000,
            Prompt + " girl named Lily. She loved to play outside in the park. One day, she saw a big red ball."),
        Runs = runs,
    };

    public static ComparisonRun Control(double loss) => new()
    {
        Name = "float control",
        Method = null,
        WeightBits = 32,
        ActivationBits = 32,
        BitsPerWeight = 32,
        Quality = FloatPerplexity * Math.Exp(loss),
        LossDifference = loss,
        Divergence = 0.021,
        Agreement = 0.931,
        Bytes = 1_056_768,
        Seconds = 48.2,
        PeakBytes = 702_000_000,
        Sample = Prompt + " girl named Lily. She had a toy bear that she loved very much.",
        TrainingLosses = Losses(1.41 + loss),
    };

    public static ComparisonRun Run(Method method, int bits, double loss, string? recipe = null)
    {
        var qat = method == Method.Qat;
        recipe ??= bits == 8 ? "w8a16" : $"w{bits}a16-g32";
        return new ComparisonRun
        {
            Name = $"{method.ToString().ToLowerInvariant()} {recipe}",
            Method = method,
            Recipe = recipe,
            WeightBits = bits,
            ActivationBits = 16,
            BitsPerWeight = bits + (bits == 8 ? 0.25 : 0.5),
            Quality = FloatPerplexity * Math.Exp(loss),
            LossDifference = loss,
            Divergence = Math.Abs(loss) * 0.9 + (qat ? 0.02 : 0.00003),
            Agreement = 1 / (1 + Math.Abs(loss) + (qat ? 0.08 : 0.004)),
            Bytes = 131_072 + (bits * 28_416),
            Seconds = qat ? 61.4 + bits : 0.31 + (0.11 * bits),
            PeakBytes = qat ? 812_000_000 : 341_000_000,
            Sample = Prompt + (loss < 1 ? " boy named Tim. Tim had a dog, and the dog liked to run & jump."
                : " the the a was. and and the Lily a a the the was"),
            TrainingLosses = qat ? Losses(1.41 + loss) : [],
            LayerErrors = Errors(bits, qat),
            WeightHistograms = [Histogram("model.layers.0.self_attn.q_proj", 0.07, bits), Histogram("model.layers.4.mlp.down_proj", 0.12, bits)],
        };
    }

    private static List<TrainingLoss> Losses(double end) =>
        [.. Enumerable.Range(1, 300).Select(step => new TrainingLoss(step, end + ((end + 1) * Math.Exp(-step / 25.0)) + (0.03 * Math.Sin(step * 12.9898))))];

    private static List<LayerError> Errors(int bits, bool qat) =>
    [
        .. Enumerable.Range(0, 5).SelectMany(block => Projections.Select((projection, i) =>
        {
            var error = Math.Pow(4, -bits) * (1.6 + (0.35 * block) + (i == 6 ? 1.4 : 0.2 * i)) * (qat ? 1.7 : 1);
            return new LayerError($"model.layers.{block}.{projection}", error, qat ? null : 3 - (10 * Math.Log10(error)));
        })),
    ];

    private static WeightHistogram Histogram(string layer, double deviation, int bits)
    {
        const int bins = 64;
        var end = 4 * deviation;
        var scale = end / ((1 << (bits - 1)) - 0.5);
        var (before, after) = (new long[bins], new long[bins]);
        for (var i = 0; i < 4096; i++)
        {
            var value = -end + (2 * end * (i + 0.5) / 4096);
            var count = (long)(40 * Math.Exp(-value * value / (2 * deviation * deviation)));
            before[Bin(value)] += count;
            after[Bin(Math.Clamp(Math.Round(value / scale) * scale, -end, end))] += count;
        }

        return new WeightHistogram(layer, [.. Enumerable.Range(0, bins + 1).Select(i => -end + (2 * end * i / bins))], before, after);

        int Bin(double value) => Math.Clamp((int)((value + end) / (2 * end) * bins), 0, bins - 1);
    }
}
