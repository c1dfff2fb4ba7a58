using System.CommandLine;
using System.Globalization;
using Nibble.Formats.Gguf;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary>Arguments and options that several commands share, worded once.</summary>
internal static class CommonOptions
{
    public static Argument<string> Model() => new("MODEL") { Description = "A Hugging Face folder: config.json, model.safetensors (or its index), a tokenizer." };

    public static Argument<string> ModelOrArtifact() => new("MODEL_OR_ARTIFACT") { Description = "A Hugging Face folder, or a folder that ptq, qat or compare wrote." };

    public static Option<string?> Recipe() => new("--recipe", "-r")
    {
        Description = "A preset such as w4a16-g32 (weights 4 bit, activations 16 bit, groups of 32), w8a8, w8a8-static, w4a8-g32, or a YAML or JSON file.",
    };

    public static Option<RecipeTarget?> Target() => new("--target")
    {
        Description = $"The format to quantize for, whose blocks are simulated: {string.Join(", ", RecipeTarget.Names)}. With --recipe, that says how codes are chosen and trained.",
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
        using var checkpoint = LlamaCheckpoint.Open(model);
        return target.Apply(given, LlamaCheckpoint.LinearLayers(checkpoint.Config));
    }

    /// <summary>Refuses options that mean nothing for a classifier.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="folder">The classifier's folder.</param>
    /// <param name="options">The options that are for decoders.</param>
    /// <exception cref="NibbleException">One of them is given.</exception>
    public static void RefuseForClassifier(ParseResult parsed, string folder, params Option[] options)
    {
        if (options.FirstOrDefault(option => parsed.GetResult(option) is { Implicit: false }) is { } foreign)
        {
            throw new NibbleException($"{folder}: {foreign.Name} is for decoders, and this is a classifier; leave it out");
        }
    }

    public static Option<string> Output() => new("--output", "-o") { Description = "The folder to write; it must not exist yet.", Required = true };

    public static Option<bool> Json() => new("--json") { Description = "Print one JSON document on stdout instead of text." };

    public static Option<bool> Restart() => new("--restart") { Description = "Throw away what an interrupted run has left, instead of going on with it." };

    public static Option<long> Seed() => new("--seed") { Description = "Drives everything random.", DefaultValueFactory = _ => 1 };

    /// <summary>The name of the option that says how many threads to use, in all commands that have it.</summary>
    public const string ThreadsName = "--threads";

    public static Option<int?> Threads() => AtLeast(ThreadsName, 1, "Threads of libtorch; all cores when not given.");

    public static Option<string> Device()
    {
        var option = new Option<string>("--device") { Description = "Where tensors are worked on: cpu, cuda or cuda:N (which needs a libtorch for CUDA).", DefaultValueFactory = _ => "cpu" };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: var value }] && !(value is "cpu" or "cuda" || (value.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(value.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out _))))
            {
                result.AddError($"--device is {value}, expected cpu, cuda or cuda:N.");
            }
        });
        return option;
    }

    public static Option<int?> Steps(string otherwise) => AtLeast("--steps", 1, $"Optimizer steps of training; {otherwise} when not given.");

    public static Option<int?> Context() => AtLeast("--context", 4, "Tokens in an evaluation window; 512 when not given, or what the model can take.");

    public static Option<int?> Windows() => AtLeast("--windows", 1, "Score only the first N windows.");

    public static Option<int?> GroupSize() => AtLeast("--group-size", 1, "Weights that share a scale; 32 when not given.");

    public static Option<int> Activations()
    {
        var option = new Option<int>("--activations") { Description = "Bits of the layers' inputs: 16 (float), 8 or 4 (per token, dynamic).", DefaultValueFactory = _ => 16 };
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
            if (result.Tokens is [{ Value: var text }] && Enum.TryParse<GgufType>(text, ignoreCase: true, out var type) && types.Contains(type) && !char.IsDigit(text[0]))
            {
                return type;
            }

            result.AddError($"{name}: '{string.Join(' ', result.Tokens)}' is not one of {string.Join(", ", types.Select(known => known.ToString().ToLowerInvariant()))}.");
            return null;
        },
    };

    /// <summary>Some widths, with commas between them.</summary>
    public static Option<int[]> Widths(string name, string description, string example, params string[] aliases) => WholeNumbers(name, 2, 8, "a width from 2 to 8", description, example, aliases);

    /// <summary>Whole numbers within bounds, with commas between them, each once.</summary>
    public static Option<int[]> WholeNumbers(string name, int least, int most, string expected, string description, string example, params string[] aliases) => new(name, aliases)
    {
        Description = description,
        CustomParser = result =>
        {
            var widths = new List<int>();
            foreach (var part in result.Tokens.SelectMany(token => token.Value.Split(',')))
            {
                if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var width) || width < least || width > most || widths.Contains(width))
                {
                    result.AddError($"{name}: '{part}' is not {expected} that is named once; write for example {name} {example}.");
                    return [];
                }

                widths.Add(width);
            }

            return [.. widths];
        },
    };

    /// <summary>A whole number with a lower bound, checked when the command line is parsed.</summary>
    public static Option<int?> AtLeast(string name, int minimum, string description) =>
        new Option<int?>(name) { Description = description }.Within(value => value >= minimum, $"{minimum} or more");

    /// <summary>Lets an option take only some numbers; a value that is no number is the parser's to refuse.</summary>
    public static Option<T> Within<T>(this Option<T> option, Predicate<double> accepts, string expected)
    {
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1
                && double.TryParse(result.Tokens[0].Value, NumberStyles.Float | NumberStyles.AllowThousands, CultureInfo.InvariantCulture, out var value)
                && !accepts(value))
            {
                result.AddError($"{option.Name} is {result.Tokens[0].Value}, expected {expected}.");
            }
        });
        return option;
    }
}
