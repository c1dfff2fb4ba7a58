using System.CommandLine;
using Nibble.Cli.Comparison;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary>What <c>compare</c> is told, and what that means for a model.</summary>
internal sealed class CompareArguments
{
    private const int DefaultWindows = 40;
    private const int DefaultGroupSize = 32;
    private const double DefaultEpochs = 2;
    private const string DefaultAlgorithms = "gptaq";
    private const string DefaultPrompt = "Once upon a time, there was a";
    private static readonly int[] DefaultWidths = [8, 4, 2];

    /// <summary>Enough for the built-in model to adapt to 2 bits within the minutes a newcomer waits.</summary>
    private static readonly QatSettings BuiltInQat = new() { Steps = 120, BatchSize = 8, SequenceLength = 128, LearningRate = 2e-4 };

    private readonly Argument<string?> model = new("MODEL")
    {
        Description = "A Hugging Face folder; the small built-in model when not given.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly TaskOptions task = new();
    private readonly Option<string?> data = new("--data", "-d")
    {
        Description = "What to calibrate and train on: a text, or for an encoder lines 'text TAB label'; required with MODEL.",
    };

    private readonly Option<string?> evalData = new("--eval-data", "-e") { Description = "Held-out data of the same form to score on; required with MODEL." };
    private readonly Option<int[]> bits = CommonOptions
        .Widths("--bits", "Widths to compare, 2 to 8, with commas between them; 8,4,2 when not given.", "8,4,2", "-b");
    private readonly Option<int?> group = NumberOptions
        .AtLeast("--group-size", 1, $"Weights that share a scale; {DefaultGroupSize} when not given, or a row of an encoder's.");
    private readonly Option<string?> activations = new("--activations")
    {
        Description = "Bits of the layers' inputs: 16 (float), 8 or 4. Of a language model: 16 when not given, else per token, dynamic. Of an encoder: 8 when "
            + "not given, "
            + "per tensor, calibrated.",
    };

    private readonly Option<string> algorithms = new("--algorithms")
    {
        Description = "What PTQ does, as at the end of a preset's name: rtn, gptq, awq-gptaq and so on.",
        DefaultValueFactory = _ => DefaultAlgorithms,
    };

    private readonly Option<string[]> hybrids = new("--hybrids")
    {
        Description = "Recipes that name both methods, presets or files with commas between them, to compare with PTQ and QAT.",
        CustomParser = result => [.. result.Tokens.SelectMany(token => token.Value.Split(','))],
    };

    private readonly Option<int?> steps = CommonOptions.Steps(
        $"{BuiltInQat.Steps} for the built-in model, {new QatSettings().Steps} for other language models, {DefaultEpochs} times over the data for encoders");

    private readonly Option<double?> epochs = NumberOptions.Number(
        "--epochs", value => value is > 0 and <= 10_000, "above 0", "How often training goes over the data, instead of --steps.");

    private readonly Option<int?> context = CommonOptions.Context();
    private readonly Option<int?> windows = NumberOptions.AtLeast(
        "--windows", 1, $"Windows of a text to score on at most, {DefaultWindows} when not given; or texts or pairs, all when not given.");

    private readonly Option<string?> prompt = new("--prompt", "-p")
    { Description = $"What every variant of a language model is asked to continue; \"{DefaultPrompt}\" when not given." };

    public CompareArguments() => activations.AcceptOnlyFromAmong("16", "8", "4");

    public Option<long> Seed { get; } = CommonOptions.Seed();

    /// <summary>Adds the arguments to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(model);
        foreach (var option in (Option[])[data, evalData, bits, group, activations, algorithms, hybrids, steps, epochs, context, windows, prompt, Seed])
        {
            command.Add(option);
        }

        task.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetValue(model) is not null && (result.GetValue(data) is null || result.GetValue(evalData) is null))
            {
                result.AddError("compare MODEL needs two texts: --data to calibrate and train on, --eval-data to score on.");
            }

            if (result.GetResult(epochs) is { Implicit: false } && result.GetResult(steps) is { Implicit: false })
            {
                result.AddError("Give --epochs or --steps, not both.");
            }
        });
    }

    /// <summary>Reads the hybrids and refuses words that no model could be compared by, before one is loaded.</summary>
    /// <returns>The recipes of the hybrids.</returns>
    /// <exception cref="UsageException">There are such words.</exception>
    public IReadOnlyList<Recipe> ReadHybrids(ParseResult parsed)
    {
        UsageException.Of(() => RecipePresets.Parse($"w{Widths(parsed)[0]}a16-g{DefaultGroupSize}-{parsed.GetValue(algorithms)}"));
        List<Recipe> recipes = [.. Hybrids(parsed)];
        if (recipes.GroupBy(recipe => recipe.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new UsageException($"--hybrids: two recipes have the name {twice.Key}; give each file a name of its own (name: ...)");
        }

        return recipes;
    }

    /// <summary>Opens the float model, with a head for its task where the checkpoint has none.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="host">Reads the labels, and tells of a head that was drawn.</param>
    /// <param name="quiet">Whether nothing is told.</param>
    /// <returns>The model, and whether a head was drawn for it.</returns>
    public (LoadedModel Model, bool IsDrawn) Open(ParseResult parsed, CommandHost host, bool quiet = false)
    {
        var source = Source(parsed);
        return task.Read(parsed, source) is { Task: ModelTask.Classification or ModelTask.Regression } asked
            ? FinetuneCommand.Open(host, source, asked, TrainingPath(host, parsed), parsed.GetValue(Seed), quiet)
            : (LoadedModel.Open(source, task.Read(parsed, source)), false);
    }

    /// <summary>What to compare.</summary>
    /// <param name="host">Told what is to be known of the data.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="loaded">The float model.</param>
    /// <param name="isDrawn">Whether its head was drawn.</param>
    /// <param name="recipes">The recipes of the hybrids.</param>
    public ComparisonOptions Read(CommandHost host, ParseResult parsed, LoadedModel loaded, bool isDrawn, IReadOnlyList<Recipe> recipes)
    {
        loaded.RequireFloat();
        var isText = loaded.Definition.Task == ModelTask.LanguageModelling;
        if (!isText)
        {
            CommonOptions.RefuseWithoutEffect(
                parsed, $"it is for windows of a text; the texts of {loaded.Name} have lengths of their own (see {task.MaxLength.Name})", context);
            CommonOptions.RefuseWithoutEffect(parsed, $"{loaded.Name} writes no text", prompt);
        }

        var training = task.ReadData(host, parsed, TrainingPath(host, parsed), loaded);
        var held = task.ReadData(host, parsed, parsed.GetValue(evalData) ?? BuiltInModel.EvaluationText, loaded);
        int? length = isText ? EvalCommand.WindowLength(parsed.GetValue(context), loaded) : null;
        var settings = Settings(parsed, isText, training, loaded.Definition);
        if (training is TokenizedText text)
        {
            ((TokenizedText)held).RequireWindow(length!.Value);
            text.RequireWindow(Math.Max(settings.SequenceLength, CalibrationOptions.For(loaded.Definition).Length));
        }

        var tuning = FinetuneCommand.Usual(isText: false);
        return new ComparisonOptions(
            Source(parsed),
            task.Read(parsed, Source(parsed)),
            training,
            held,
            [.. Widths(parsed).Select(width => RecipeOf(parsed, width, loaded.Definition, algorithms: null))],
            [.. Widths(parsed).Select(width => RecipeOf(parsed, width, loaded.Definition, parsed.GetValue(algorithms)))],
            recipes,
            settings)
        {
            FineTuning = isDrawn ? tuning with { Steps = FinetuneCommand.StepsOf(training, tuning, FinetuneCommand.UsualEpochs, parsed.GetValue(Seed)) } : null,
            Context = length,
            Windows = parsed.GetValue(windows) ?? (isText ? DefaultWindows : null),
            Prompt = isText ? parsed.GetValue(prompt) ?? DefaultPrompt : null,
            Seed = parsed.GetValue(Seed),
            CommandLine = CommonOptions.CommandLine(parsed.Tokens.Select(token => token.Value)),
        };
    }

    private bool IsBuiltIn(ParseResult parsed) => parsed.GetValue(model) is null;

    private string Source(ParseResult parsed) => parsed.GetValue(model) ?? BuiltInModel.Folder;

    private string TrainingPath(CommandHost host, ParseResult parsed) => parsed.GetValue(data) is { } path ? host.Rereadable(path) : BuiltInModel.TrainingText;

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

    /// <summary>The recipe of a width: what engines run fast. The head of an encoder, a few numbers that decide all, stays float, as a language model's
    /// does.</summary>
    private Recipe RecipeOf(ParseResult parsed, int width, ModelDefinition definition, string? algorithms)
    {
        var isText = definition.Task == ModelTask.LanguageModelling;
        var inputs = parsed.GetValue(activations) ?? (isText ? "16" : "8");
        var groups = parsed.GetValue(group) is { } size ? $"-g{size}" : isText ? $"-g{DefaultGroupSize}" : string.Empty;
        var ranges = isText || inputs == "16" ? string.Empty : "-static-mse";
        var name = $"w{width}a{inputs}{groups}{ranges}{(algorithms is null ? string.Empty : $"-{algorithms}")}";
        var recipe = UsageException.Of(() => RecipePresets.Parse(name));
        return isText
            ? IsBuiltIn(parsed) ? recipe with { Qat = BuiltInQat } : recipe
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
            $"--hybrids: the recipe {nameOrPath} leaves nothing to the method ptq, so it is no hybrid; expected a preset such as hybrid-attention-qat or a "
            + $"file whose rules name methods");
}
