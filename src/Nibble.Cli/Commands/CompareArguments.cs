using System.CommandLine;
using Nibble.Cli.Comparison;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Commands;

/// <summary>The arguments and options of <c>compare</c>, and what they mean for a model.</summary>
internal sealed class CompareArguments
{
    private const int DefaultWindows = 40;
    private const int BuiltInWindows = 24;
    private const int DefaultGroupSize = 32;
    private const double DefaultEpochs = 2;
    private const string DefaultAlgorithms = "gptaq";

    /// <summary>The plainest PTQ, with rows as groups and the head quantized too: what a small model can show within 90 seconds.</summary>
    private const string BuiltInAlgorithms = "rtn";
    private const int BuiltInGroupSize = 256;
    private const string DefaultPrompt = "Once upon a time, there was a";
    private static readonly int[] DefaultWidths = [8, 4, 2];

    /// <summary>Lets the built-in model adapt to 2 bits within seconds.</summary>
    /// <remarks>Its training text is its own, so it learns from the float model's predictions.</remarks>
    private static readonly QatSettings BuiltInQat = new()
    {
        Steps = 40,
        BatchSize = 8,
        SequenceLength = 128,
        LearningRate = 2e-4,
        ScaleLearningRate = 2e-3,
        Distillation = new DistillationSettings(),
    };

    private readonly Argument<string?> model = new("MODEL")
    {
        Description = "A Hugging Face model folder. Default: the small built-in model.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly TaskOptions task = new();
    private readonly Option<string[]> data = CommonOptions.Data(
        "Calibration and training data: text, or for an encoder lines 'text TAB label'. Required with MODEL.", required: false);

    private readonly Option<string[]> evalData = CommonOptions.EvalData("Held-out data to score on, same format. This or --tasks is required with MODEL.");
    private readonly QuestionOptions questions = new();
    private readonly Option<int[]> bits = CommonOptions
        .Widths("--bits", "Bit widths to compare, 2 to 8, comma-separated. Default: 8,4,2.", "8,4,2", "-b");
    private readonly Option<int?> group = NumberOptions
        .AtLeast("--group-size", 1, $"Weights per scale. Default: {DefaultGroupSize}; for an encoder and the built-in model, a whole row.");
    private readonly Option<string?> activations = new("--activations")
    {
        Description = "Bit width of the layers' inputs: 16 (float), 8 or 4. Language models quantize them dynamically, per token; encoders per tensor, "
            + "with calibrated ranges. "
            + "Default: 16 for language models, 8 for encoders.",
    };

    private readonly Option<string?> algorithms = new("--algorithms")
    {
        Description = "PTQ algorithms, as at the end of a preset's name: rtn, gptq, awq-gptaq and so on. Several, comma-separated, are compared with each "
            + $"other. Default: {DefaultAlgorithms}; for the built-in model {BuiltInAlgorithms}.",
    };

    private readonly Option<string[]> hybrids = new("--hybrids")
    {
        Description = "Hybrid recipes, which use both methods, to compare with PTQ and QAT: presets or files, comma-separated.",
        CustomParser = result => [.. result.Tokens.SelectMany(token => token.Value.Split(','))],
    };

    private readonly Option<int?> steps = CommonOptions.Steps(
        $"{BuiltInQat.Steps} for the built-in model, {new QatSettings().Steps} for other language models, {DefaultEpochs} epochs for encoders");

    private readonly Option<double?> epochs = NumberOptions.Number(
        "--epochs", value => value is > 0 and <= 10_000, "above 0", "Passes over the training data, instead of --steps.");

    private readonly Option<int?> context = CommonOptions.Context();
    private readonly Option<int?> windows = NumberOptions.AtLeast(
        "--windows", 1, "Maximum number of windows, texts, pairs, or questions of a task file, to score. "
            + $"Default: {DefaultWindows} windows ({BuiltInWindows} for the built-in model), or all texts, pairs or questions.");

    private readonly Option<string?> prompt = new("--prompt", "-p")
    { Description = $"Text for every variant of a language model to continue. Default: \"{DefaultPrompt}\"." };

    public CompareArguments() => activations.AcceptOnlyFromAmong("16", "8", "4");

    public Option<long> Seed { get; } = CommonOptions.Seed();

    /// <summary>Adds the arguments and options to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(model);
        foreach (var option in (Option[])[data, evalData, bits, group, activations, algorithms, hybrids, steps, epochs, context, windows, prompt, Seed])
        {
            command.Add(option);
        }

        task.AddTo(command);
        questions.AddTo(command, [evalData, context, task.Task, task.Pooling, task.Normalize, task.MaxLength], []);
        command.Validators.Add(result =>
        {
            if (result.GetValue(model) is not null
                && (result.GetResult(data) is null || (result.GetResult(evalData) is null && result.GetResult(questions.Tasks) is null)))
            {
                result.AddError("compare MODEL needs two data sets: --data to calibrate and train on, and --eval-data or --tasks to score on.");
            }

            if (result.GetResult(epochs) is { Implicit: false } && result.GetResult(steps) is { Implicit: false })
            {
                result.AddError("Give --epochs or --steps, not both.");
            }
        });
    }

    /// <summary>Reads the hybrid recipes and refuses invalid values before any model is loaded.</summary>
    /// <returns>The hybrid recipes.</returns>
    /// <exception cref="UsageException">A value is invalid.</exception>
    public IReadOnlyList<Recipe> ReadHybrids(ParseResult parsed)
    {
        foreach (var asked in Algorithms(parsed))
        {
            UsageException.Of(() => RecipePresets.Parse($"w{Widths(parsed)[0]}a16-g{DefaultGroupSize}-{asked}"));
        }

        List<Recipe> recipes = [.. Hybrids(parsed)];
        if (recipes.GroupBy(recipe => recipe.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new UsageException($"--hybrids: two recipes are named {twice.Key}; give each file a different name (name: ...)");
        }

        return recipes;
    }

    /// <summary>Opens the float model. Adds a head for the task if the checkpoint has none.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="host">Reads the labels, and reports a randomly initialized head.</param>
    /// <param name="quiet">Whether to report nothing.</param>
    /// <returns>The model, and whether its head was randomly initialized.</returns>
    public (LoadedModel Model, bool IsDrawn) Open(ParseResult parsed, CommandHost host, bool quiet = false)
    {
        var source = Source(parsed);
        return task.Read(parsed, source) is { Task: ModelTask.Classification or ModelTask.Regression } asked
            ? FinetuneCommand.Open(host, source, asked, TrainingFiles(host, parsed), parsed.GetValue(Seed), quiet)
            : (LoadedModel.Open(source, task.Read(parsed, source)), false);
    }

    /// <summary>What to compare.</summary>
    /// <param name="host">Takes notes about the data.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="loaded">The float model.</param>
    /// <param name="isDrawn">Whether its head was randomly initialized.</param>
    /// <param name="recipes">The hybrid recipes.</param>
    public ComparisonOptions Read(CommandHost host, ParseResult parsed, LoadedModel loaded, bool isDrawn, IReadOnlyList<Recipe> recipes)
    {
        loaded.RequireFloat();
        var isText = loaded.Definition.Task == ModelTask.LanguageModelling;
        if (!isText)
        {
            CommonOptions.RefuseWithoutEffect(
                parsed, $"it is for windows of text, but each text of {loaded.Name} is read on its own (see {task.MaxLength.Name})", context);
            CommonOptions.RefuseWithoutEffect(parsed, $"{loaded.Name} generates no text", prompt);
        }

        var training = task.ReadData(host, parsed, TrainingFiles(host, parsed), loaded);
        var measure = Measure(host, parsed, loaded);
        var settings = Settings(parsed, isText, training, loaded.Definition);
        if (training is TokenizedText text)
        {
            text.RequireWindow(Math.Max(settings.SequenceLength, CalibrationOptions.For(loaded.Definition).Length));
        }

        var tuning = FinetuneCommand.Defaults(isText: false);
        return new ComparisonOptions(
            Source(parsed),
            task.Read(parsed, Source(parsed)),
            training,
            measure,
            [.. Widths(parsed).Select(width => RecipeOf(parsed, width, loaded.Definition, algorithms: null))],
            [.. Algorithms(parsed).SelectMany(asked => Widths(parsed).Select(width => RecipeOf(parsed, width, loaded.Definition, asked)))],
            recipes,
            settings)
        {
            FineTuning = isDrawn ? tuning with { Steps = FinetuneCommand.StepsOf(training, tuning, FinetuneCommand.DefaultEpochs, parsed.GetValue(Seed)) }
                : null,
            Prompt = isText ? parsed.GetValue(prompt) ?? DefaultPrompt : null,
            Seed = parsed.GetValue(Seed),
            IsSelfWritten = IsBuiltIn(parsed) && parsed.GetValue(data) is not { Length: > 0 },
            CommandLine = CommonOptions.CommandLine(parsed.Tokens.Select(token => token.Value)),
        };
    }

    /// <summary>What variants are scored on: questions, or held-out data of the task.</summary>
    private IComparisonMeasure Measure(CommandHost host, ParseResult parsed, LoadedModel loaded)
    {
        if (questions.Read(host, parsed, parsed.GetValue(windows)) is { } files)
        {
            // Refuses an encoder before anything is made.
            _ = loaded.Decoder;
            return new QuestionMeasure(files);
        }

        var held = task.ReadData(host, parsed, parsed.GetValue(evalData) is { Length: > 0 } scored ? scored : [BuiltInModel.EvaluationText], loaded);
        var scoring = ModelTasks.Of(loaded.Definition);
        if (held is not TokenizedText text)
        {
            return new DataMeasure(scoring, held, context: null, parsed.GetValue(windows));
        }

        var length = EvalCommand.WindowLength(parsed.GetValue(context), loaded);
        text.RequireWindow(length);
        return new DataMeasure(scoring, held, length, parsed.GetValue(windows) ?? (IsBuiltIn(parsed) ? BuiltInWindows : DefaultWindows));
    }

    private bool IsBuiltIn(ParseResult parsed) => parsed.GetValue(model) is null;

    private string Source(ParseResult parsed) => parsed.GetValue(model) ?? BuiltInModel.Folder;

    private IReadOnlyList<string> TrainingFiles(CommandHost host, ParseResult parsed) =>
        parsed.GetValue(data) is { Length: > 0 } files ? host.Rereadable(files) : [BuiltInModel.TrainingText];

    private string[] Algorithms(ParseResult parsed) =>
        (parsed.GetValue(algorithms) ?? (IsBuiltIn(parsed) ? BuiltInAlgorithms : DefaultAlgorithms)).Split(',');

    private int[] Widths(ParseResult parsed) => parsed.GetValue(bits) is { Length: > 0 } asked ? asked : DefaultWidths;

    private QatSettings Settings(ParseResult parsed, bool isText, ITaskData training, ModelDefinition definition)
    {
        var settings = IsBuiltIn(parsed) ? BuiltInQat : isText ? new QatSettings() : QatSettings.ForEncoder(8);
        settings = settings with { SequenceLength = Math.Min(settings.SequenceLength, definition.MaxSequence) };
        var times = parsed.GetValue(epochs) ?? (isText ? null : DefaultEpochs);
        return settings with
        {
            Steps = parsed.GetValue(steps)
                ?? (times is { } passes ? FinetuneCommand.StepsOf(training, settings, passes, parsed.GetValue(Seed)) : settings.Steps),
        };
    }

    /// <summary>The recipe of a width, with schemes that engines run fast. The head of an encoder stays float, as a language model's does: it is small and
    /// sensitive.</summary>
    private Recipe RecipeOf(ParseResult parsed, int width, ModelDefinition definition, string? algorithms)
    {
        var isText = definition.Task == ModelTask.LanguageModelling;
        var inputs = parsed.GetValue(activations) ?? (isText ? "16" : "8");
        var groups = parsed.GetValue(group) is { } size ? $"-g{size}"
            : isText ? $"-g{(IsBuiltIn(parsed) ? BuiltInGroupSize : DefaultGroupSize)}" : string.Empty;
        var ranges = isText || inputs == "16" ? string.Empty : "-static-mse";
        var name = $"w{width}a{inputs}{groups}{ranges}{(algorithms is null ? string.Empty : $"-{algorithms}")}";
        var recipe = UsageException.Of(() => RecipePresets.Parse(name));
        return isText
            ? IsBuiltIn(parsed)
                ? recipe with { Qat = BuiltInQat, Rules = [recipe.Rules[^1] with { Pattern = definition.Tied!.Value.Layer }, .. recipe.Rules] }
                : recipe
            : recipe with
            {
                Rules = [.. definition.HeadLayers.Select(layer => new RecipeRule(layer.Name, Weights: null)), .. recipe.Rules],
                Qat = QatSettings.ForEncoder(width)
            };
    }

    private IEnumerable<Recipe> Hybrids(ParseResult parsed) => (parsed.GetValue(hybrids) ?? []).Select(LoadHybrid)
        .Select(recipe => recipe with { Qat = recipe.Qat with { Steps = parsed.GetValue(steps) ?? recipe.Qat.Steps } });

    private static Recipe LoadHybrid(string nameOrPath) => UsageException.Of(() => RecipeFile.Load(nameOrPath)) is { IsHybrid: true } recipe
        ? recipe
        : throw new UsageException(
            $"--hybrids: the recipe {nameOrPath} has no rule with the method ptq, so it is not a hybrid; expected a preset such as hybrid-attention-qat, or a "
            + $"file whose rules name methods");
}
