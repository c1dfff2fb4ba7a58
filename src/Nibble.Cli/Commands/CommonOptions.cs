using Nibble.Export;
using Nibble.Files;
using System.CommandLine;
using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary>Arguments and options that several commands share, worded once.</summary>
internal static class CommonOptions
{
    public static Argument<string> Model() =>
        new("MODEL") { Description = "A Hugging Face folder: config.json, model.safetensors (or its index), a tokenizer." };

    public static Argument<string> ModelOrArtifact() =>
        new("MODEL_OR_ARTIFACT") { Description = "A Hugging Face folder, or a folder that ptq, qat or compare wrote." };

    public static Option<string?> Recipe() => new("--recipe", "-r")
    {
        Description = "A preset such as w4a16-g32 (weights 4 bit, activations 16 bit, groups of 32), w8a8, w8a8-static, w4a8-g32, or a YAML or JSON file.",
    };

    public static Option<RecipeTarget?> Target() => new("--target")
    {
        Description = $"The format to quantize for, whose blocks are simulated: {string.Join(", ", RecipeTarget.Names)}. With --recipe, that says how codes "
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

    /// <summary>Lets a command go on only where at least one of a recipe and a target is given.</summary>
    public static void RequireRecipeOrTarget(Command command, Option<string?> recipe, Option<RecipeTarget?> target) => command.Validators.Add(result =>
    {
        if (result.GetResult(recipe) is null && result.GetResult(target) is null)
        {
            result.AddError("Give a --recipe, a --target, or both.");
        }
    });

    /// <summary>The recipe that the two options ask for, which needs libtorch where there is a target.</summary>
    /// <param name="target">The value of <see cref="Target"/>.</param>
    /// <param name="given">What <see cref="Recipe"/> names, loaded; null only where there is a target.</param>
    /// <param name="model">The folder of the model that it is for.</param>
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

        // A head that is the embedding can have a matrix of its own.
        return target.Apply(given, definition.Tied is { Layer: var head } ? [.. layers, (head, definition.HiddenSize)] : layers);
    }

    /// <summary>Says which options are ignored, where that depends on the recipe: one command line is repeated with several.</summary>
    /// <param name="host">Where to say it.</param>
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

    /// <summary>Refuses options that are ignored whatever the model and the recipe: whoever gives one expects that it does something.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="reason">Why they have no effect.</param>
    /// <param name="options">The options.</param>
    /// <exception cref="UsageException">One of them is given.</exception>
    public static void RefuseWithoutEffect(ParseResult parsed, string reason, params Option[] options)
    {
        if (options.FirstOrDefault(option => IsGiven(parsed, option)) is { } idle)
        {
            throw new UsageException($"{idle.Name} has no effect here: {reason}; leave it out");
        }
    }

    /// <summary>Whether an option stands on the command line.</summary>
    public static bool IsGiven(ParseResult parsed, Option option) => parsed.GetResult(option) is { Implicit: false };

    /// <summary>The tokens of a sequence that are asked for, or some, or less where the model cannot take those.</summary>
    /// <param name="name">The option's name.</param>
    /// <param name="asked">Its value.</param>
    /// <param name="byDefault">Tokens where it is not given.</param>
    /// <param name="limit">The longest sequence that the model takes.</param>
    /// <param name="model">What the model is called.</param>
    /// <exception cref="UsageException">More are asked for than the model takes.</exception>
    public static int SequenceLength(string name, int? asked, int byDefault, int limit, string model) => asked > limit
        ? throw new UsageException($"{name} is {asked}, expected at most {limit}, the longest sequence that {model} takes")
        : asked ?? Math.Min(byDefault, limit);

    public static Option<string> Output() => new("--output", "-o") { Description = "The folder to write; it must not exist yet.", Required = true };

    public static Option<bool> Json() => new("--json") { Description = "Print one JSON document on stdout instead of text." };

    public static Option<bool> Restart() => new("--restart") { Description = "Throw away what an interrupted run has left, instead of resuming it." };

    public static Option<long> Seed() => NumberOptions.Whole("--seed", 1, "Drives everything random.");

    /// <summary>The name of the option that says how many threads to use, in all commands that have it.</summary>
    public const string ThreadsName = "--threads";

    public static Option<int?> Threads() => NumberOptions.AtLeast(ThreadsName, 1, "Threads of libtorch; all cores when not given.");

    public static Option<string> Device()
    {
        var option = new Option<string>("--device")
        {
            Description = "Where tensors are worked on: cpu, cuda or cuda:N (which needs a libtorch for CUDA).",
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

    public static Option<int?> Steps(string otherwise) => NumberOptions.AtLeast("--steps", 1, $"Optimizer steps of training; {otherwise} when not given.");

    public static Option<int?> Context() =>
        NumberOptions.AtLeast("--context", 4, "Tokens in an evaluation window; 512 when not given, or what the model can take.");

    public static Option<int?> Windows() => NumberOptions.AtLeast("--windows", 1, "Score only the first N windows.");

    public static Option<int?> GroupSize() => NumberOptions.AtLeast("--group-size", 1, "Weights that share a scale; 32 when not given.");

    public static Option<int> Activations()
    {
        var option = new Option<int>("--activations")
        { Description = "Bits of the layers' inputs: 16 (float), 8 or 4 (per token, dynamic).", DefaultValueFactory = _ => 16 };
        option.AcceptOnlyFromAmong("16", "8", "4");
        return option;
    }

    /// <summary>A command of this program as it would be typed.</summary>
    public static string CommandLine(IEnumerable<string> words) =>
        $"nibble {string.Join(' ', words.Select(word => word.Contains(' ', StringComparison.Ordinal) ? $"\"{word}\"" : word))}";

    /// <summary>A type of GGUF's, in any case, out of some.</summary>
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

    /// <summary>Some widths, with commas between them.</summary>
    public static Option<int[]> Widths(string name, string description, string example, params string[] aliases) =>
        NumberOptions.Wholes(name, 2, 8, "a width from 2 to 8", description, example, aliases);
}
