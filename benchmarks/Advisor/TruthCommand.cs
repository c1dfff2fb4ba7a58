using System.CommandLine;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Native;
using TorchSharp;

namespace Nibble.Benchmarks.Advisor;

/// <summary><c>truth</c>: goes every road to its end and keeps what comes out in a table.</summary>
internal static class TruthCommand
{
    /// <summary>The whole road and the shorter ones that the advisor offers where time is short; the rest are for the study of the curves.</summary>
    public static readonly IReadOnlyList<int> Steps = [10, 20, 40, 66, 200];

    public static readonly IReadOnlyList<int> Widths = [4, 3, 2];

    public static Argument<string> Data() => new("data") { Description = "the folder with stories260K, tinystories and wikitext-2" };

    public static Option<string> Table() =>
        new("--table") { Description = "the table, which grows", DefaultValueFactory = _ => "benchmarks/results/advisor-truth.csv" };

    public static Option<string> Work() =>
        new("--work") { Description = "keeps the models that are trained here", DefaultValueFactory = _ => "/tmp/nibble-advisor" };

    /// <summary>The options at a width: round to nearest, GPTAQ and training.</summary>
    public static IEnumerable<Candidate> Candidates(BenchModel model, int bits)
    {
        var recipe = RecipePresets.Parse($"w{bits}a16-g32");
        yield return new(Method.Ptq, recipe);
        yield return new(Method.Ptq, Truth.Shortened(RecipePresets.Parse($"{recipe.Name}-gptaq")));
        yield return new(Method.Qat, recipe with { Qat = Truth.Settings(model, recipe.Qat) with { Steps = Steps[^1] } });
    }

    public static Command Create()
    {
        var (data, table, work) = (Data(), Table(), Work());
        var only = new Option<string[]>(
            "--models")
        { Description = "some of the models", DefaultValueFactory = _ => [.. BenchModel.Names], AllowMultipleArgumentsPerToken = true };
        var command = new Command("truth", "Go every road to its end") { data, table, work, only };
        command.SetAction(parsed =>
        {
            TorchRuntime.EnsureLoaded();
            torch.set_num_threads(1);
            var truth = new Truth(parsed.GetValue(table)!);
            foreach (var name in parsed.GetValue(only)!)
            {
                Run(truth, BenchModel.Open(name, parsed.GetValue(data)!, parsed.GetValue(work)!));
            }
        });
        return command;
    }

    private static void Run(Truth truth, BenchModel model)
    {
        truth.Of(model, null, Truth.Float, 0);
        foreach (var bits in Widths)
        {
            foreach (var candidate in Candidates(model, bits).Where(candidate => !candidate.Trains))
            {
                truth.Of(model, candidate.Recipe, "ptq", 0);
            }
        }

        foreach (var steps in Steps)
        {
            truth.Of(model, null, Truth.Float, steps);
            foreach (var bits in Widths)
            {
                truth.Of(model, Candidates(model, bits).Last().Recipe, "qat", steps);
            }
        }
    }
}
