using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Report;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report.Documents;
using Nibble.Numerics;
using Nibble.Recipes;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble recipes</c>: lists the presets, and explains one recipe.</summary>
internal static class RecipesCommand
{
    /// <summary>When to use a preset.</summary>
    private static readonly Dictionary<string, string> Uses = new(StringComparer.Ordinal)
    {
        ["w8a16-g32"] = "Nearly lossless, about half the size of float16. Needs no data.",
        ["w4a16-g32"] = "4-bit weights without data: the quickest start.",
        ["w4a16-g32-mse"] = "4-bit weights without data, with ranges that minimize the squared error.",
        ["w4a16-g128"] = "4-bit weights with fewer scales: smaller, slightly less accurate.",
        ["w3a16-g32"] = "3-bit weights. Train them (qat), or use w3a16-g32-gptaq.",
        ["w2a16-g32"] = "2-bit weights, for QAT. PTQ at 2 bits ruins most models.",
        ["wta16-g32"] = "Ternary weights, for QAT.",
        ["w8a8"] = "INT8 weights and dynamic activations. Needs no data.",
        ["w8a8-static"] = "INT8 with calibrated activations, the fastest INT8 in ONNX Runtime.",
        ["w8a8-static-percentile"] = "The same, clipping outliers of the activations.",
        ["w4a8-g32"] = "4-bit weights and dynamic 8-bit activations.",
        ["w4a16-g32-gptq"] = "4-bit weights fitted to calibration data: the standard choice for language models.",
        ["w3a16-g32-gptaq"] = "The best start at 3 bits without training.",
        ["w4a16-g128-awq"] = "4-bit weights that protect the channels with large activations.",
        ["w4a16-g32-hqq"] = "4-bit weights without data, more accurate than rounding to nearest.",
        ["w2a16-g32-signround"] = "Learned rounding, the strongest PTQ at 2 bits. Takes minutes.",
        ["w8a8-smoothquant"] = "INT8 for models whose activations have outliers.",
        ["w4a4-g32-rotated-gptq"] = "4-bit weights and activations of a rotated model. Runs in Nibble only.",
        ["hybrid-weights-ptq-activations-qat"] = "PTQ of the weights, QAT of the ranges of 4-bit activations.",
        ["hybrid-attention-qat"] = "QAT of attention, PTQ of the rest: cheaper than QAT of everything.",
        ["hybrid-mlp-qat"] = "QAT of the feed-forward layers, PTQ of the rest.",
    };

    public static Command Create(CommandHost host)
    {
        var recipe = new Argument<string?>("RECIPE")
        {
            Description = "A preset, or a YAML or JSON file, to explain. Without it, all presets are listed.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var json = new Option<bool>("--json")
        {
            Description = "Print one JSON document: the list, or the recipe itself, which works as a recipe file."
        };
        var command = new Command("recipes", "List the presets, or explain a recipe and print it as a file to edit.") { recipe, json };
        command.SetAction(parsed =>
        {
            if (parsed.GetValue(recipe) is { } name)
            {
                Explain(host, UsageException.Of(() => RecipeFile.Load(name)), parsed.GetValue(json));
            }
            else
            {
                List(host, parsed.GetValue(json));
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static void List(CommandHost host, bool json)
    {
        var presets = RecipePresets.Names.Select(name => Describe(RecipePresets.Parse(name))).ToList();
        if (json)
        {
            host.WriteJson(new RecipesDocument(RecipesDocument.CurrentSchema, presets), CliJson.Default.RecipesDocument);
            return;
        }

        var table = new Table().Border(TableBorder.Simple)
            .AddColumn(new TableColumn("preset").NoWrap()).AddColumn("data").AddColumn("when to use it");
        foreach (var preset in presets)
        {
            table.AddRow(preset.Name, preset.NeedsData ? "yes" : "no", Markup.Escape(preset.Use));
        }

        host.Console.WriteTable(table);
        host.Output.WriteLine("data: whether PTQ calibrates on data. QAT always trains on data.");
        host.Output.WriteLine("A preset's name is its recipe: w4a16-g32-gptq has 4-bit weights, 16-bit (float) activations, groups of 32 and GPTQ.");
        host.Output.WriteLine("'nibble recipes NAME' explains one; 'nibble recipes NAME --json' prints it as a file to edit.");
    }

    private static PresetEntry Describe(Recipe recipe)
    {
        var rule = recipe.Rules.Last(rule => rule.Weights is not null);
        return new PresetEntry(
            recipe.Name, rule.Weights!.ToString(), rule.Activations?.Scheme.ToString() ?? "float", Algorithms(recipe, rule),
            recipe.NeedsCalibration, Uses[recipe.Name]);
    }

    private static List<string> Algorithms(Recipe recipe, RecipeRule rule) =>
        [.. recipe.Rotation == Rotation.Hadamard ? ["rotated"] : Array.Empty<string>(), .. rule.Algorithms.Names];

    private static void Explain(CommandHost host, Recipe recipe, bool json)
    {
        if (json)
        {
            host.WriteUnbroken(RecipeFile.ToJson(recipe).TrimEnd());
            return;
        }

        host.Output.WriteLine(Uses.TryGetValue(recipe.Name, out var use) ? $"{recipe.Name}: {use}" : recipe.Name);
        var table = new Table().Border(TableBorder.Simple).AddColumn(new TableColumn("layers").NoWrap()).AddColumn("weights").AddColumn("activations")
            .AddColumn("PTQ").AddColumn("method");
        foreach (var rule in recipe.Rules)
        {
            table.AddRow(
                Markup.Escape(rule.Pattern), rule.Weights is { } weights ? $"{weights}{Range(rule.Range)}" : "float",
                rule is { Weights: not null, Activations: { } inputs } ? $"{inputs.Scheme}{Observer(inputs)}" : "float",
                rule.Weights is null ? string.Empty : string.Join(", ", Algorithms(recipe, rule)), rule.Weights is null ? string.Empty : Methods(rule));
        }

        host.Console.WriteTable(table);
        host.Output.WriteLine("The first rule whose pattern matches a layer's name decides. Layers that no rule matches stay float.");
        if (recipe.KeyValueCache is { } cache)
        {
            host.Output.WriteLine($"key-value cache: keys {cache.Keys}, values {cache.Values}");
        }

        host.Output.WriteLine(recipe.NeedsCalibration
            ? $"ptq: calibrates on {recipe.Ptq.Windows} windows of {recipe.Ptq.SequenceLength} tokens (--data)"
            : "ptq: needs no data");
        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"qat: {recipe.Qat.Steps} steps of {recipe.Qat.BatchSize} windows of {recipe.Qat.SequenceLength} tokens or {recipe.Qat.BatchSize} texts, "
                + $"learning rate {recipe.Qat.LearningRate}, {(recipe.Qat.Distillation is null ? "learns from the data" : "learns from the float model")}"));
    }

    private static string Range(WeightRange range) => range switch
    {
        WeightRange.Mse => ", least squared error",
        WeightRange.Search => ", searched",
        _ => string.Empty,
    };

    private static string Observer(ActivationRule rule) => rule.Scheme.Granularity is not PerTensor ? string.Empty : ", " + rule.Observer switch
    {
        ObserverKind.MinMax => "min-max",
        ObserverKind.MovingAverage => "moving average",
        ObserverKind.Mse => "least squared error",
        var observer => observer.ToString().ToLowerInvariant(),
    };

    private static string Methods(RecipeRule rule) => (rule.WeightMethod, rule.ActivationMethod) switch
    {
        (null, null) => "as the command",
        var (weights, activations) when rule.Activations is null || weights == activations => Word(weights),
        var (weights, activations) => $"weights {Word(weights)}, activations {Word(activations)}",
    };

    private static string Word(Method? method) => method?.Word() ?? "as the command";
}
