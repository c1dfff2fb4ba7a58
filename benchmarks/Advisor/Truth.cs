using Nibble.Files;
using System.Diagnostics;
using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;

namespace Nibble.Benchmarks.Advisor;

/// <summary>What a road gives when it is gone to its end.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Recipe">The recipe's name, or <see cref="Truth.Float"/> for the float model and its control.</param>
/// <param name="Method">float, ptq or qat.</param>
/// <param name="Steps">Steps of training; 0 where none.</param>
/// <param name="ProbeLoss">Nats per token on the text that the advisor sees.</param>
/// <param name="Loss">Nats per token on the text that it does not see.</param>
/// <param name="Seconds">Processor seconds to make it.</param>
internal sealed record TruthRow(string Model, string Recipe, string Method, int Steps, double ProbeLoss, double Loss, double Seconds);

/// <summary>The table of true results, a file that grows by a row a run; what it holds is not run again.</summary>
internal sealed class Truth(string path)
{
    public const string Float = "float";
    private const string Head = "model,recipe,road,steps,probeLoss,loss,cpuSeconds";
    private readonly Dictionary<string, TruthRow> rows = Load(path).ToDictionary(Key);

    public IEnumerable<TruthRow> Rows => rows.Values;

    /// <summary>The result of a road, from the table or by going it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="recipe">The recipe; null for float, trained where there are steps.</param>
    /// <param name="method">float, ptq or qat.</param>
    /// <param name="steps">Steps of training; 0 for none.</param>
    public TruthRow Of(BenchModel model, Recipe? recipe, string method, int steps)
    {
        var wanted = new TruthRow(model.Name, recipe?.Name ?? Float, method, steps, 0, 0, 0);
        if (rows.TryGetValue(Key(wanted), out var known))
        {
            return known;
        }

        using var process = Process.GetCurrentProcess();
        var before = process.TotalProcessorTime;
        using var made = Make(model, recipe, steps);
        process.Refresh();
        var seconds = (process.TotalProcessorTime - before).TotalSeconds;
        var row = wanted with { ProbeLoss = Score(made, model.Probe), Loss = Score(made, model.Test), Seconds = seconds };
        rows.Add(Key(row), row);
        Save();
        Console.Error.WriteLine(Line(row));
        return row;
    }

    private static IDecoder Make(BenchModel model, Recipe? recipe, int steps)
    {
        var loaded = LoadedModel.Open(model.Folder);
        if (steps > 0)
        {
            var settings = (recipe?.Qat ?? Settings(model, new QatSettings())) with { Steps = steps };
            new QuantizationAwareTrainer(loaded, recipe, settings, model.Training, CalibrationOptions.For(loaded.Definition), 1).Train();
        }

        if (steps > 0 || recipe is null)
        {
            return loaded.Decoder;
        }

        using (loaded)
        {
            return (IDecoder)LoadedModel.Simulate(PostTrainingQuantizer.Run(loaded, recipe, model.Training, 1), recipe.Name);
        }
    }

    /// <summary>How everything trains here.</summary>
    public static QatSettings Settings(BenchModel model, QatSettings settings) =>
        settings with
        {
            BatchSize = 4,
            SequenceLength = BenchModel.Length,
            LearningRate = model.Rate ?? settings.LearningRate,
            FloatLearningRate = model.Rate ?? settings.FloatLearningRate
        };

    /// <summary>How everything is calibrated here.</summary>
    public static Recipe Shortened(Recipe recipe) => recipe with { Ptq = recipe.Ptq with { SequenceLength = BenchModel.Length } };

    private static double Score(IDecoder model, TokenizedText text) => Evaluator.Evaluate(model, text, BenchModel.Length).Loss;

    private static string Key(TruthRow row) => $"{row.Model},{row.Recipe},{row.Method},{row.Steps}";

    private static string Line(TruthRow row) => string.Create(CultureInfo.InvariantCulture, $"{Key(row)},{row.ProbeLoss:F5},{row.Loss:F5},{row.Seconds:F2}");

    private void Save() => AtomicFile.Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true) { NewLine = "\n" };
        writer.WriteLine(Head);
        foreach (var row in rows.Values)
        {
            writer.WriteLine(Line(row));
        }
    });

    private static IEnumerable<TruthRow> Load(string path)
    {
        if (!File.Exists(path))
        {
            yield break;
        }

        foreach (var line in File.ReadLines(path).Skip(1))
        {
            var cells = line.Split(',');
            double Number(int cell) => double.Parse(cells[cell], CultureInfo.InvariantCulture);
            yield return new TruthRow(cells[0], cells[1], cells[2], (int)Number(3), Number(4), Number(5), Number(6));
        }
    }
}
