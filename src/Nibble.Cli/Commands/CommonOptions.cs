using Nibble.Export;
using Nibble.Files;
using System.CommandLine;
using System.CommandLine.Completions;
using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary>Arguments and options that several commands share.</summary>
internal static class CommonOptions
{
    public static Argument<string> Model() =>
        new("MODEL") { Description = "A Hugging Face model folder with config.json, model.safetensors (or its index) and a tokenizer." };

    public static Argument<string> ModelOrArtifact() =>
        new("MODEL_OR_ARTIFACT") { Description = "A Hugging Face model folder, or an artifact folder written by ptq, qat or compare." };

    /// <summary>The option for the data of a command, which may be in several files.</summary>
    public static Option<string[]> Data(string description, bool required) => DataFiles("--data", "-d", description, required);

    /// <summary>The option for held-out data, which may be in several files.</summary>
    public static Option<string[]> EvalData(string description) => DataFiles("--eval-data", "-e", description, required: false);

    /// <summary>Whether a data option asks the float model to write the data itself.</summary>
    /// <exception cref="UsageException">It also names files.</exception>
    public static bool IsSelf(IReadOnlyList<string> files) => files.Contains(SelfText.Name) && (files.Count == 1
        ? true
        : throw new UsageException($"--data {SelfText.Name} has the float model write the data, and cannot be combined with files; expected one of the two"));

    private static Option<string[]> DataFiles(string name, string alias, string description, bool required)
    {
        var option = new Option<string[]>(name, alias) { Description = $"{description} Repeat it for several files.", Required = required };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count(token => token.Value == CommandHost.StandardInput) > 1)
            {
                result.AddError($"{name} {CommandHost.StandardInput} is given twice, but standard input can be read only once.");
            }
        });
        return option;
    }

    public static Option<string?> Recipe() => new("--recipe", "-r")
    {
        Description = "Recipe file (YAML or JSON), or a preset such as w4a16-g32 (4-bit weights, 16-bit activations, groups of 32), w8a8 or w8a8-static.",
        CompletionSources = { _ => RecipePresets.Names.Select(name => new CompletionItem(name)) },
    };

    public static Option<RecipeTarget?> Target() => new("--target")
    {
        Description = $"Target format, whose blocks are simulated: {string.Join(", ", RecipeTarget.Names)}. With --recipe, the recipe sets how codes "
            + $"are chosen and trained.",
        CustomParser = result =>
        {
            try
            {
                return RecipeTarget.Parse(result.Tokens[0].Value);
            }
            catch (NibbleException exception)
            {
                result.AddError(exception.Message);
                return null;
            }
        },
    };

    /// <summary>Makes a command require a recipe, a target, or both.</summary>
    public static void RequireRecipeOrTarget(Command command, Option<string?> recipe, Option<RecipeTarget?> target) => command.Validators.Add(result =>
    {
        if (result.GetResult(recipe) is null && result.GetResult(target) is null)
        {
            result.AddError("Give a --recipe, a --target, or both.");
        }
    });

    /// <summary>The recipe that the two options define. A target needs libtorch.</summary>
    /// <param name="target">The value of <see cref="Target"/>.</param>
    /// <param name="given">The recipe loaded from <see cref="Recipe"/>; null only if there is a target.</param>
    /// <param name="model">The folder of the model that the recipe is for.</param>
    public static Recipe RecipeFor(RecipeTarget? target, Recipe? given, string model)
    {
        if (target is null)
        {
            return given!;
        }

        LoadedModel.RequireFloat(model);
        GgufSupport.Require(model);
        using var checkpoint = FloatCheckpoint.Open(model);
        var definition = checkpoint.Definition;
        var layers = definition.QuantizableLayers.Select(layer => (layer.Name, layer.Columns)).ToList();

        // A head that is tied to the embedding can have its own matrix.
        return target.Apply(given, definition.Tied is { Layer: var head } ? [.. layers, (head, definition.HiddenSize)] : layers);
    }

    /// <summary>Warns about options that the recipe makes irrelevant. This is not an error, because users repeat a command line with several recipes.</summary>
    /// <param name="host">Takes the warning.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="reason">Why they have no effect.</param>
    /// <param name="options">The options.</param>
    public static void WarnWithoutEffect(CommandHost host, ParseResult parsed, string reason, params Option[] options)
    {
        if (options.Where(option => IsGiven(parsed, option)).Select(option => option.Name).ToList() is { Count: > 0 } idle)
        {
            host.Warn($"{string.Join(", ", idle)} {(idle.Count == 1 ? "has" : "have")} no effect: {reason}");
        }
    }

    /// <summary>Refuses options that have no effect here, whatever the recipe, because the user expects each option to do something.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="reason">Why they have no effect.</param>
    /// <param name="options">The options.</param>
    /// <exception cref="UsageException">One of them is given.</exception>
    public static void RefuseWithoutEffect(ParseResult parsed, string reason, params Option[] options)
    {
        if (options.FirstOrDefault(option => IsGiven(parsed, option)) is { } idle)
        {
            throw new UsageException($"{idle.Name} has no effect here: {reason}; remove it");
        }
    }

    /// <summary>Whether an option is on the command line.</summary>
    public static bool IsGiven(ParseResult parsed, Option option) => parsed.GetResult(option) is { Implicit: false };

    /// <summary>The sequence length given, or the default, limited to what the model supports.</summary>
    /// <param name="name">The option's name.</param>
    /// <param name="asked">Its value; null if it is not given.</param>
    /// <param name="byDefault">The default in tokens.</param>
    /// <param name="limit">The longest sequence that the model supports, in tokens.</param>
    /// <param name="model">The model's name.</param>
    /// <exception cref="UsageException">The length is more than the model supports.</exception>
    public static int SequenceLength(string name, int? asked, int byDefault, int limit, string model) => asked > limit
        ? throw new UsageException($"{name} is {asked}, expected at most {limit}, the longest sequence that {model} supports")
        : asked ?? Math.Min(byDefault, limit);

    public static Option<string> Output() => new("--output", "-o") { Description = "Output folder. It must not exist yet.", Required = true };

    public static Option<bool> Json() => new("--json") { Description = "Print one JSON document on stdout instead of text." };

    public static Option<bool> Restart() => new("--restart") { Description = "Discard the work of an interrupted run instead of resuming it." };

    public static Option<long> Seed() => NumberOptions.Whole("--seed", 1, "Random seed.");

    /// <summary>The name of the option for the number of threads, in all commands that have it.</summary>
    public const string ThreadsName = "--threads";

    public static Option<int?> Threads() => NumberOptions.AtLeast(ThreadsName, 1, "Threads of libtorch. Default: all cores.");

    public static Option<string> Device()
    {
        var option = new Option<string>("--device")
        {
            Description = "Device that computes: cpu, cuda or cuda:N. CUDA needs a libtorch built for it.",
            DefaultValueFactory = _ => "cpu"
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: var value }]
                && !(value is "cpu" or "cuda" || (
                value.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(value.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out _))))
            {
                result.AddError($"--device is {value}, expected cpu, cuda or cuda:N.");
            }
        });
        return option;
    }

    public static Option<int?> Steps(string otherwise) => NumberOptions.AtLeast("--steps", 1, $"Training steps. Default: {otherwise}.");

    public static Option<int?> Context() =>
        NumberOptions.AtLeast("--context", 4, "Tokens per evaluation window. Default: 512, or the model's limit if smaller.");

    public static Option<int?> Windows() => NumberOptions.AtLeast("--windows", 1, "Number of windows to score, from the start. Default: all.");

    public static Option<int?> GroupSize() => NumberOptions.AtLeast("--group-size", 1, "Weights per scale. Default: 32.");

    public static Option<int> Activations()
    {
        var option = new Option<int>("--activations")
        { Description = "Bit width of the layers' inputs: 16 (float), 8 or 4 (dynamic, per token).", DefaultValueFactory = _ => 16 };
        option.AcceptOnlyFromAmong("16", "8", "4");
        return option;
    }

    /// <summary>A command of this program as a user would type it.</summary>
    public static string CommandLine(IEnumerable<string> words) =>
        $"nibble {string.Join(' ', words.Select(word => word.Contains(' ', StringComparison.Ordinal) ? $"\"{word}\"" : word))}";

    /// <summary>An option that takes one of several GGUF types, in upper or lower case.</summary>
    public static Option<GgufType?> GgufType(string name, string description, IReadOnlyList<GgufType> types) => new(name)
    {
        Description = description,
        CustomParser = result =>
        {
            if (result.Tokens is [{ Value: var text }] && Enum.TryParse<GgufType>(text, ignoreCase: true, out var type) && types.Contains(type)
                && !char.IsDigit(text[0]))
            {
                return type;
            }

            result.AddError($"{name}: '{string.Join(' ', result.Tokens)}' is not one of "
                + $"{string.Join(", ", types.Select(known => known.ToString().ToLowerInvariant()))}.");
            return null;
        },
    };

    /// <summary>An option that takes bit widths, comma-separated.</summary>
    public static Option<int[]> Widths(string name, string description, string example, params string[] aliases) =>
        NumberOptions.Wholes(name, 2, 8, "a width from 2 to 8", description, example, aliases);
}
