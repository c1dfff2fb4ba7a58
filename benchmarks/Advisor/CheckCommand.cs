using System.CommandLine;
using System.Diagnostics;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Planning;
using TorchSharp;

namespace Nibble.Benchmarks.Advisor;

/// <summary><c>check</c>: asks the advisor in many situations, and compares what it predicts and chooses with the table of measured results.</summary>
internal static class CheckCommand
{
    /// <summary>A choice that loses at most this share more than the best is as good.</summary>
    private const double Near = 0.02;

    public static Command Create()
    {
        var data = TruthCommand.Data();
        var table = TruthCommand.Table();
        var work = TruthCommand.Work();
        var output = new Option<string>("--output") { Description = "the Markdown file to write", DefaultValueFactory = _ => "benchmarks/results/advisor.md" };
        var seconds = new Option<double>("--seconds") { Description = "processor seconds of each probe", DefaultValueFactory = _ => 12 };
        var only = new Option<int?>("--first") { Description = "the first situations alone" };
        var command = new Command(
            "check", "Ask the advisor in many situations and hold its answers against the table") { data, table, work, output, seconds, only };
        command.SetAction(parsed =>
        {
            TorchRuntime.EnsureLoaded();
            torch.set_num_threads(1);
            var truth = new Truth(parsed.GetValue(table)!);
            var answers = new List<Answer>();
            foreach (var situation in Situation.All.Take(parsed.GetValue(only) ?? int.MaxValue))
            {
                var model = BenchModel.Open(situation.Model, parsed.GetValue(data)!, parsed.GetValue(work)!);
                var answer = new Answer(situation, model, Ask(situation, model, parsed.GetValue(seconds)), truth);
                answers.Add(answer);
                Console.Error.WriteLine(answer.Line);
                CheckTables.Write(parsed.GetValue(output)!, answers, parsed.GetValue(seconds), Near);
            }
        });
        return command;
    }

    private static AdvisorResult Ask(Situation situation, BenchModel model, double seconds)
    {
        using var source = LoadedModel.Open(model.Folder);
        return Torch.Planning.Advisor.Run(
            new AdvisorOptions(source, model.Training, model.Probe, [.. situation.Bits.SelectMany(bits => TruthCommand.Candidates(model, bits))])
            {
                Constraints = situation.Constraints,
                ProbeSeconds = seconds,
                Context = BenchModel.Length,
                Clock = ProcessorSeconds,
            });
    }

    /// <summary>The machine is shared: time on the wall says little.</summary>
    private static double ProcessorSeconds()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalSeconds;
    }
}
