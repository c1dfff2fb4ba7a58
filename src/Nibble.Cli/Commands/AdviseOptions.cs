using Nibble.Models;
using System.CommandLine;
using Nibble.Torch.Models;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Commands;

/// <summary>The arguments and options of <c>nibble advise</c>.</summary>
internal sealed class AdviseOptions
{
    public Argument<string?> Model { get; } = new("MODEL")
    { Description = "A Hugging Face model folder. Optional with --cost-of.", Arity = ArgumentArity.ZeroOrOne };

    public TaskOptions Task { get; } = new();

    public Option<string[]> Data { get; } = CommonOptions.Data(
        "Calibration and training data, in the format of ptq and qat. Without it, only methods that need no data are considered.", required: false);

    public Option<string[]> EvalData { get; } = CommonOptions.EvalData("Held-out data to score on. Default: the last tenth of --data.");

    public Option<int[]> Bits { get; } = CommonOptions
        .Widths("--bits", "Bit widths to consider, 2 to 8, comma-separated. Default: 8,4,3,2.", "4,3", "-b");

    public Option<int> Activations { get; } = CommonOptions.Activations();

    public Option<int?> GroupSize { get; } = CommonOptions.GroupSize();

    public Option<string[]> Recipes { get; } = new("--recipes")
    {
        Description = "Additional recipes to consider: presets or recipe files, comma-separated.",
        CustomParser = result => [.. result.Tokens.SelectMany(token => token.Value.Split(','))],
    };

    public Option<int?> Steps { get; } = CommonOptions.Steps("the recipe's number");

    public Option<double?> Minutes { get; } = NumberOptions
        .Number("--minutes", value => value > 0, "above 0", "Time limit for producing the model, in minutes. Default: no limit.");

    public Option<double?> Memory { get; } = NumberOptions
        .Number("--memory", value => value > 0, "above 0", "Memory limit for producing the model, in megabytes. Default: no limit.");

    public Option<double?> MaxLoss { get; } = new("--max-loss")
    {
        Description = "Largest acceptable loss relative to the float model: a share of the perplexity, such as 2%, "
            + "or an amount in the unit of the task's loss, such as 0.02 (nats, squared error, or 1 minus the cosine). Default: no limit.",
        CustomParser = ParseLoss,
    };


    public Option<bool> NoTrainingData { get; } = new("--no-training-data") { Description = "Use the data for calibration only, not for training." };

    public Option<int?> CalibrationTokens { get; } = NumberOptions.AtLeast(
        "--calibration-tokens", 0, "Maximum number of calibration tokens. Default: the recipe's number.");

    public Option<string> Engine { get; } =
        new Option<string>("--engine")
        {
            Description = "Inference engine that will run the result: nibble, llama.cpp, vllm or onnxruntime.",
            DefaultValueFactory = _ => "nibble"
        }.AcceptOnlyFromAmong([.. TargetEngines.ByName.Keys]);

    public Option<double?> ProbeMinutes { get; } = NumberOptions
        .Number("--probe-minutes", value => value > 0, "above 0", "Time limit of the probe, in minutes. Default: 2.");

    public Option<int?> Context { get; } = CommonOptions.Context();

    public Option<int?> Windows { get; } = NumberOptions.AtLeast(
        "--windows", 2, "Maximum number of held-out windows or texts to score. Default: 40 windows or 2000 texts.");

    public Option<string?> CostOf { get; } =
        new("--cost-of")
        {
            Description = $"Model sizes to print the cost of each method for, instead of advice: "
        + $"{string.Join(", ", ModelShape.Known.Select(shape => shape.Name))}, comma-separated."
        };

    public Option<double?> Flops { get; } = NumberOptions
        .Number("--flops", value => value > 0, "above 0", "Machine's compute in TFLOP/s, for --cost-of. Default: measured on this machine.");

    public Option<double?> Bandwidth { get; } = NumberOptions
        .Number("--bandwidth", value => value > 0, "above 0", "Machine's memory bandwidth in GB/s, for --cost-of. Default: measured on this machine.");

    public Option<string?> Output { get; } = new("--output", "-o") { Description = "New folder for report.html and advise.json." };

    public Option<long> Seed { get; } = CommonOptions.Seed();

    public Option<int?> Threads { get; } = CommonOptions.Threads();

    public Option<bool> Json { get; } = CommonOptions.Json();

    public void AddTo(Command command)
    {
        command.Add(Model);
        foreach (Option option in (
            Option[])[Data, EvalData, Bits, Activations, GroupSize, Recipes, Steps, Minutes, Memory, MaxLoss, NoTrainingData, CalibrationTokens, Engine,
            ProbeMinutes, Context, Windows, CostOf, Flops, Bandwidth, Output, Seed, Threads, Json])
        {
            command.Add(option);
        }

        Task.AddTo(command);
        command.Validators.Add(result =>
        {
            var costs = result.GetResult(CostOf) is { Implicit: false };
            Option[] idle = costs
                ?
                [
                    Data, EvalData, Activations, GroupSize, Recipes, Minutes, Memory, MaxLoss, NoTrainingData, CalibrationTokens, Engine, ProbeMinutes,
                    Context, Windows, Task.MaxLength, Output, Seed,
                ]
                : [Flops, Bandwidth];
            foreach (var option in idle.Where(option => result.GetResult(option) is { Implicit: false }))
            {
                result.AddError($"{option.Name} has no effect {(costs ? "with" : "without")} {CostOf.Name}; remove it.");
            }

            if (!costs && result.GetResult(Data) is null)
            {
                foreach (var option in ((Option[])[NoTrainingData, CalibrationTokens]).Where(option => result.GetResult(option) is { Implicit: false }))
                {
                    result.AddError($"{option.Name} has no effect without {Data.Name}; remove it.");
                }
            }

            if (result.GetValue(CostOf) is { } sizes)
            {
                if (sizes.Split(',').FirstOrDefault(size => ModelShape.Known.All(shape => shape.Name != size)) is { } unknown)
                {
                    result.AddError($"--cost-of: '{unknown}' is not one of {string.Join(", ", ModelShape.Known.Select(shape => shape.Name))}.");
                }
            }
            else if (result.GetValue(Model) is null)
            {
                result.AddError("advise needs a MODEL, or --cost-of.");
            }
            else if (result.GetResult(Data) is null && result.GetResult(EvalData) is null)
            {
                result.AddError("advise MODEL needs data: --data to calibrate and train on, --eval-data to score on, or both.");
            }
        });
    }

    /// <summary>The bit widths given; null if none.</summary>
    public int[]? Widths(ParseResult parsed) => parsed.GetValue(Bits) is { Length: > 0 } asked ? asked : null;

    /// <summary>The machine that costs are computed for.</summary>
    public Hardware Hardware(ParseResult parsed)
    {
        if (parsed.GetValue(Flops) is { } flops && parsed.GetValue(Bandwidth) is { } bandwidth)
        {
            return new Hardware(flops * 1e12, bandwidth * 1e9);
        }

        CommandHost.StartTorch(parsed.GetValue(Threads));
        var machine = MachineSpeed.Measure();
        return machine with
        {
            Flops = parsed.GetValue(Flops) * 1e12 ?? machine.Flops,
            Bandwidth = parsed.GetValue(Bandwidth) * 1e9 ?? machine.Bandwidth,
        };
    }

    /// <summary>The sizes that costs are computed for: those named, and the model's if one is given.</summary>
    public IReadOnlyList<ModelShape> Shapes(ParseResult parsed)
    {
        var named = parsed.GetValue(CostOf)!.Split(',').Select(size => ModelShape.Known.First(shape => shape.Name == size));
        if (parsed.GetValue(Model) is not { } folder)
        {
            return [.. named];
        }

        using var checkpoint = FloatCheckpoint.Open(folder, Task.Read(parsed, folder));
        return [checkpoint.Definition.ShapeOf(checkpoint.Name), .. named];
    }

    /// <summary>The largest acceptable loss; null for no limit.</summary>
    /// <exception cref="UsageException">It is a share of the perplexity, but the task has no perplexity.</exception>
    public double? Limit(ParseResult parsed, LossUnit unit) =>
        !unit.HasPerplexity && parsed.GetResult(MaxLoss)?.Tokens is [{ Value: var word }] && word.EndsWith('%')
        ? throw new UsageException($"{MaxLoss.Name} is {word}, a share of the perplexity, but this model has no perplexity; expected {unit.Mean}, such as 0.02")
        : parsed.GetValue(MaxLoss);

    /// <summary>Training settings for the cost: those of the presets.</summary>
    public QatSettings TrainingSteps(ParseResult parsed) => new() { Steps = parsed.GetValue(Steps) ?? new QatSettings().Steps };

    private static double? ParseLoss(System.CommandLine.Parsing.ArgumentResult result)
    {
        var word = result.Tokens[0].Value;
        var percent = word.EndsWith('%');
        var number = percent ? word[..^1] : word;
        if (NumberText.TryParse(number, out double value) && value > 0)
        {
            return percent ? Math.Log(1 + (value / 100)) : value;
        }

        var hint = NumberText.DecimalHint(number);
        hint += percent && hint.Length > 0 ? "%" : string.Empty;
        result.AddError($"--max-loss is {word}, expected a share of the perplexity such as 2% or an amount such as 0.02, above 0{hint}.");
        return null;
    }
}
