using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json;
using System.Text.RegularExpressions;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Evaluation.Questions;

namespace Nibble.Cli.Tests.Documents;

/// <summary>Holds the documents against the program.</summary>
public sealed partial class DocumentTests : IDisposable
{
    private const string Run = "dotnet run -c Release --project src/Nibble.Cli -- ";
    private const int MaxColumns = 120;
    private static readonly string[] Denied = [.. File.ReadLines(Path.Combine(Document.Root, "docs", "denied-phrases.txt"))];
    private readonly CommandHost host = new(TextWriter.Null, TextWriter.Null);
    private readonly Command root;

    public DocumentTests() => root = NibbleProgram.CreateRoot(host);

    public static TheoryData<string> Documents => [.. Document.Names];

    public static TheoryData<string> Commands
    {
        get
        {
            using var host = new CommandHost(TextWriter.Null, TextWriter.Null);
            return [.. NibbleProgram.CreateRoot(host).Subcommands.Select(command => command.Name)];
        }
    }

    public void Dispose() => host.Dispose();

    [Theory]
    [MemberData(nameof(Documents))]
    public void LinksLeadSomewhere(string name)
    {
        var document = Document.Read(name);
        var folder = Path.GetDirectoryName(document.Path)!;

        Assert.All(document.RelativeLinks(), link =>
        {
            var path = link.Path.Length == 0 ? document.Path : Path.Combine(folder, link.Path);
            Assert.True(Path.Exists(path), $"{name} links to {link.Path}, which is not there");
            Assert.True(
                link.Heading is not { } heading || Document.Read(Path.GetRelativePath(Document.Root, path)).Anchors().Contains(heading),
                $"{name} links to {link.Path}#{link.Heading}, and there is no such heading");
        });
    }

    [Theory]
    [MemberData(nameof(Documents))]
    public void LinesAreNotTooLongToRead(string name) => Assert.DoesNotContain(
        Document.Read(name).Prose(), line => line.Length > MaxColumns && line.Trim().Contains(' '));

    [Theory]
    [MemberData(nameof(Documents))]
    public void WordsArePlain(string name)
    {
        var text = string.Join(' ', Document.Read(name).Prose().Select(line => line.Trim()));
        Assert.DoesNotContain(Denied, phrase => Regex.IsMatch(text, $@"\b{Regex.Escape(phrase)}\b", RegexOptions.IgnoreCase));
    }

    [Theory]
    [MemberData(nameof(Documents))]
    public void CommandLinesParse(string name)
    {
        foreach (var line in CommandLines(Document.Read(name)))
        {
            var errors = root.Parse([.. CommandLineParser.SplitCommandLine(line)]).Errors;
            Assert.True(errors.Count == 0, $"{name}: 'nibble {line}': {string.Join(" ", errors.Select(error => error.Message))}");
        }
    }

    [Fact]
    public void CommandLinesAreFound()
    {
        Assert.Contains("compare", CommandLines(Document.Read("README.md")));
        Assert.True(root.Subcommands.All(command => CommandLines(PageOf(command.Name)).Any(line => line.Split(' ')[0] == command.Name)));
    }

    [Theory]
    [MemberData(nameof(Documents))]
    public void RecipesOfCommandLinesExist(string name)
    {
        var made = new HashSet<string>();
        foreach (var line in CommandLines(Document.Read(name)).Select(line => line.Split(' ')))
        {
            if (line.Contains("--output"))
            {
                made.Add(line[Array.IndexOf(line, "--output") + 1]);
            }

            if (!line.Contains("--recipe") || line[Array.IndexOf(line, "--recipe") + 1] is not { } recipe || made.Contains(recipe))
            {
                continue;
            }

            Assert.NotEmpty(RecipeFile.Load(recipe.EndsWith(".yaml", StringComparison.Ordinal) ? Path.Combine(Document.Root, recipe) : recipe).Rules);
        }
    }

    [Theory]
    [MemberData(nameof(Documents))]
    public void CommandsNamedInTextExist(string name) => Assert.All(
        NamedCommand().Matches(Document.Read(name).Text).Select(match => match.Groups["command"].Value),
        command => Assert.Contains(command, root.Subcommands.Select(known => known.Name)));

    [Theory]
    [MemberData(nameof(Commands))]
    public void EveryOptionIsDocumentedAndNothingElse(string name)
    {
        var command = root.Subcommands.Single(command => command.Name == name);
        var documented = PageOf(name).Items("Options").Select(item => item.Split(": ")[0]).ToList();

        var known = command.Arguments.Select(argument => $"`{argument.Name}`")
            .Concat(command.Options.Select(option => string.Join(", ", option.Aliases.Prepend(option.Name).Select(alias => $"`{alias}`"))));
        Assert.Equal(known.Order(StringComparer.Ordinal), documented.Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void EveryRequiredOptionIsSaidToBeRequired(string name)
    {
        var items = PageOf(name).Items("Options").ToList();
        foreach (var option in root.Subcommands.Single(command => command.Name == name).Options)
        {
            var item = items.Single(item => item.StartsWith($"`{option.Name}`", StringComparison.Ordinal));
            Assert.True(option.Required == item.Contains("Required.", StringComparison.Ordinal), item);
        }
    }

    [Fact]
    public void PresetsAreWhatTheirRowsSay()
    {
        var rows = Document.Read("docs/reference/recipes.md").Table("preset").ToList();
        Assert.True(rows.Count > 5);
        Assert.All(rows, row =>
        {
            var recipe = RecipePresets.Parse(row[0].Trim('`'));
            var rule = recipe.RuleFor("model.layers.0.mlp.down_proj")!;
            Assert.Null(recipe.RuleFor("lm_head"));
            Assert.Equal(row[1], rule.Weights + RangeOf(rule));
            Assert.Equal(row[2], rule.Activations is null ? "float" : rule.Activations.Scheme + ObserverOf(rule.Activations));
            Assert.Equal(row[3], string.Join(", ", (recipe.Rotation == Rotation.Hadamard ? ["rotated"] : Array.Empty<string>()).Concat(rule.Algorithms.Names)));
        });
    }

    [Fact]
    public void TheExampleRecipeIsTheOneShownAndParses()
    {
        var path = Path.Combine(Document.Root, "docs", "reference", "example-recipe.yaml");

        Assert.Equal(File.ReadAllText(path).ReplaceLineEndings("\n"), Document.Read("docs/reference/recipe-files.md").Block("yaml"));
        var recipe = RecipeFile.Load(path);
        Assert.Equal("careful", recipe.Name);
        Assert.Equal(8, recipe.RuleFor("model.layers.0.mlp.down_proj")!.Weights!.Bits);
        Assert.Equal(ObserverKind.Percentile, recipe.RuleFor("model.layers.1.mlp.down_proj")!.Activations!.Observer);
        Assert.Null(recipe.RuleFor("model.layers.1.self_attn.o_proj"));
        Assert.Equal(Granularity.Group(32), recipe.RuleFor("model.layers.1.mlp.up_proj")!.Weights!.Granularity);
        Assert.Equal(["smoothquant", "gptq"], recipe.RuleFor("model.layers.1.mlp.down_proj")!.Algorithms.Names);
        Assert.Equal(128, recipe.Ptq.Windows);
        Assert.Equal(200, recipe.Qat.Steps);
    }

    [Fact]
    public void AlgorithmsAreDocumentedInTheOrderOfTheirStack()
    {
        var rows = Document.Read("docs/reference/recipes.md").Table("algorithm").ToList();

        Assert.Equal(WeightAlgorithms.KnownNames, rows.Select(row => row[0].Trim('`')));
        Assert.All(rows, row => Assert.Equal(WeightAlgorithms.Parse([row[0].Trim('`')]).NeedsData ? "yes" : "no", row[2]));
    }

    [Fact]
    public void TwoAlgorithmsStackWhereTheirDocumentedPlacesRise()
    {
        var rows = Document.Read("docs/reference/recipes.md").Table("algorithm").Select(row => (Name: row[0].Trim('`'), Place: row[1].Split(',')[0])).ToList();

        Assert.All(rows.SelectMany(first => rows.Select(second => (First: first, Second: second))), pair =>
            Assert.Equal(
                string.CompareOrdinal(pair.First.Place, pair.Second.Place) < 0,
                Record.Exception(() => WeightAlgorithms.Parse([pair.First.Name, pair.Second.Name])) is null));
    }

    [Fact]
    public void SettingsOfPtqAreDocumentedWithTheirDefaults()
    {
        using var written = JsonDocument.Parse(RecipeFile.ToJson(new Recipe("defaults", [])));
        var defaults = written.RootElement.GetProperty("ptq").EnumerateObject()
            .ToDictionary(setting => setting.Name,
                setting => setting.Value.ValueKind == JsonValueKind.String ? $"`{setting.Value}` (default)" : setting.Value.GetRawText());
        var documented = Document.Read("docs/reference/recipe-files.md").Table("setting").ToDictionary(row => row[0].Trim('`'), row => row[1]);

        Assert.Equal(KeysOf("preset: w4a16\nptq: { KEY: 1 }").Order(StringComparer.Ordinal), documented.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(defaults.Keys.Order(StringComparer.Ordinal), documented.Keys.Order(StringComparer.Ordinal));
        Assert.All(defaults, setting => Assert.Matches($@"(^|[ `]){Regex.Escape(setting.Value)}(\W|$)", documented[setting.Key]));
    }

    [Fact]
    public void RecipesOfTheBenchmarksParse()
    {
        var files = Directory.GetFiles(Path.Combine(Document.Root, "benchmarks", "recipes"));
        var ptq = Rows("ptq-table.sh", 1).SelectMany(
            row => row.StartsWith("$w", StringComparison.Ordinal) ? Enumerable.Range(2, 3).Select(bits => $"w{bits}a16-g32{row[2..]}") : [row]);
        var recipes = ptq.Concat(Rows("qat-table.sh", 2)).ToList();

        Assert.Equal(files.Select(Path.GetFileName).Order(StringComparer.Ordinal),
            recipes.Where(recipe => recipe.EndsWith(".yaml", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
        Assert.All(recipes, recipe => Assert.Equal(
            Path.GetFileNameWithoutExtension(recipe),
            RecipeFile.Load(recipe.EndsWith(".yaml", StringComparison.Ordinal) ? Path.Combine(Document.Root, "benchmarks", "recipes", recipe) : recipe).Name));

        static IEnumerable<string> Rows(string script, int word) => File.ReadAllLines(Path.Combine(Document.Root, "benchmarks", script))
            .Where(line => line.TrimStart().StartsWith("row ", StringComparison.Ordinal))
            .Select(line => line.Trim().Split(' ')[word]);
    }

    [Theory]
    [InlineData("rules: [{ pattern: a, weights: float, KEY: 1 }]", "rules[].")]
    [InlineData("rules: [{ pattern: a, weights: { KEY: 1 } }]", null)]
    [InlineData("rules: [{ pattern: a, weights: float, activations: { KEY: 1 } }]", null)]
    [InlineData("preset: w4a16\nqat: { KEY: 1 }", null)]
    [InlineData("preset: w4a16\nqat: { schedule: { KEY: 1 } }", null)]
    [InlineData("preset: w4a16\nqat: { distillation: { KEY: 1 } }", "distillation.")]
    [InlineData("KEY: 1", null)]
    public void EveryKeyOfARecipeFileIsDocumented(string yaml, string? prefix)
    {
        var documented = Document.Read("docs/reference/recipe-files.md").Table("key").Select(row => row[0].Trim('`')).ToHashSet();

        Assert.All(KeysOf(yaml), key => Assert.Contains(prefix + key, documented));
    }

    [Theory]
    [InlineData(AdviceDocument.CurrentSchema, typeof(AdviceDocument))]
    [InlineData(CostDocument.CurrentSchema, typeof(CostDocument))]
    [InlineData(EvalDocument.CurrentSchema, typeof(EvalDocument))]
    [InlineData(EvalTasksDocument.CurrentSchema, typeof(EvalTasksDocument))]
    [InlineData(QuantizeDocument.CurrentSchema, typeof(QuantizeDocument))]
    [InlineData(EstimateDocument.CurrentSchema, typeof(EstimateDocument))]
    [InlineData(GenerateDocument.CurrentSchema, typeof(GenerateDocument))]
    [InlineData(InspectDocument.CurrentSchema, typeof(InspectDocument))]
    [InlineData(RecipesDocument.CurrentSchema, typeof(RecipesDocument))]
    [InlineData(InspectFileDocument.CurrentSchema, typeof(InspectFileDocument))]
    [InlineData(SensitivityDocument.CurrentSchema, typeof(SensitivityDocument))]
    [InlineData(MixDocument.CurrentSchema, typeof(MixDocument))]
    [InlineData(ExportDocument.CurrentSchema, typeof(ExportDocument))]
    [InlineData(ImportDocument.CurrentSchema, typeof(ImportDocument))]
    [InlineData(VerifyDocument.CurrentSchema, typeof(VerifyDocument))]
    [InlineData(VerifyEncoderDocument.CurrentSchema, typeof(VerifyEncoderDocument))]
    [InlineData(GgufDocument.CurrentSchema, typeof(GgufDocument))]
    [InlineData(OnnxEstimateDocument.CurrentSchema, typeof(OnnxEstimateDocument))]
    [InlineData(OnnxQuantizeDocument.CurrentSchema, typeof(OnnxQuantizeDocument))]
    [InlineData(BenchDocument.CurrentSchema, typeof(BenchDocument))]
    [InlineData(BenchEncoderDocument.CurrentSchema, typeof(BenchEncoderDocument))]
    [InlineData(OnnxSensitivityDocument.CurrentSchema, typeof(OnnxSensitivityDocument))]
    [InlineData(VerifyOnnxDocument.CurrentSchema, typeof(VerifyOnnxDocument))]
    [InlineData(BenchOnnxDocument.CurrentSchema, typeof(BenchOnnxDocument))]
    [InlineData(ImatrixDocument.CurrentSchema, typeof(ImatrixDocument))]
    public void FieldsOfJSONDocumentsAreDocumentedInTheirOrder(string schema, Type type)
    {
        var paragraph = Document.Read("docs/reference/json.md").Section(schema).Split("Fields:")[1].Split("\n\n")[0];
        var documented = QuotedWord().Matches(Parenthesis().Replace(paragraph, string.Empty)).Select(match => match.Groups["word"].Value);

        Assert.Equal(type.GetProperties().Select(property => JsonNamingPolicy.CamelCase.ConvertName(property.Name)), documented);
    }

    [Fact]
    public void LayoutsOfTaskFilesAreDocumented() => Assert.Equal(
        QuestionLayout.All.Select(layout => layout.Name).Order(StringComparer.Ordinal),
        Document.Read("docs/reference/task-files.md").Table("layout").Select(row => row[0].Trim('`')).Order(StringComparer.Ordinal));

    [Fact]
    public void ExitCodesAreDocumented()
    {
        var codes = typeof(ExitCode).GetFields().Select(field => (int)field.GetRawConstantValue()!);

        Assert.Equal(codes.Order(),
            Document.Read("docs/reference/exit-codes.md").Table("code").Select(row => int.Parse(row[0], System.Globalization.CultureInfo.InvariantCulture)));
    }

    [Theory]
    [InlineData("docs/results.md")]
    [InlineData("docs/results/encoders.md")]
    public void TheTableOfEncodersIsThatOfTheOutcomes(string name)
    {
        var seeds = OutcomesOf("encoder-classification");
        var text = string.Join(' ', Document.Read(name).Text.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries));

        Assert.Equal(3, seeds.Count);
        Assert.Contains($"Float{(name == "docs/results.md" ? " has" : ":")} {Mean(seed => Test(seed, "float"))}", text, StringComparison.Ordinal);
        foreach (var (width, epochs) in new[] { ("w8a8", 1), ("w4a8", 1), ("w4a4", 3), ("w3a8", 1), ("w2a8", 3) })
        {
            var nearest = Mean(seed => Test(seed, $"ptq {width}, rtn"));
            var ptq = Mean(seed => BestOnDev(seed, $"ptq {width},").GetProperty("Test").GetDouble());
            var qat = Mean(seed => Test(seed, $"qat {width}, {epochs} epochs"));
            Assert.Contains($"| {width.ToUpperInvariant()} | {nearest} | {ptq} | {qat} |", text, StringComparison.Ordinal);
        }

        static double Test(JsonElement seed, string key) => seed.GetProperty(key).GetProperty("Test").GetDouble();

        string Mean(Func<JsonElement, double> value)
        {
            var values = seeds.ConvertAll(seed => value(seed));
            var deviation = Math.Sqrt(values.Sum(item => Math.Pow(item - values.Average(), 2)) / (values.Count - 1));
            return string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{values.Average():F2} ± {deviation:F2}");
        }
    }

    [Theory]
    [InlineData("docs/results.md")]
    [InlineData("docs/results/encoders.md")]
    public void TheTableOfEmbeddingsIsThatOfTheOutcomes(string name)
    {
        var seeds = OutcomesOf("encoder-embedding");
        var text = Document.Read(name).Text;

        foreach (var width in seeds.SelectMany(seed => seed.EnumerateObject()).Where(item => item.Name.StartsWith("qat ", StringComparison.Ordinal))
            .Select(item => item.Name.Split(' ', ',')[1]).Distinct())
        {
            var measured = seeds.FindAll(seed => seed.EnumerateObject().Any(item => item.Name.StartsWith($"qat {width},", StringComparison.Ordinal)));
            string[] methods = [$"ptq {width}, rtn", $"ptq {width},", $"qat {width},"];
            var outcomes = methods.Select(method => measured.ConvertAll(seed => BestOnDev(seed, method))).ToList();
            var cells = outcomes.Select(method => Mean(method, "Test", 100, "F4")).Concat(outcomes.Select(method => Mean(method, "Cosine", 1, "F3")));
            Assert.Contains($"| {width.ToUpperInvariant()} | {string.Join(" | ", cells)} |", text, StringComparison.Ordinal);
        }

        static string Mean(List<JsonElement> outcomes, string key, double scale, string format) =>
            (outcomes.Average(outcome => outcome.GetProperty(key).GetDouble()) / scale).ToString(format, System.Globalization.CultureInfo.InvariantCulture);
    }

    [Fact]
    public void ThePackingExampleIsTrue()
    {
        var packed = new byte[4];
        BitPacking.Pack([-8, -7, 7, 0, -8, -8, -8, -8], 4, packed);

        Assert.Contains("the 4-bit codes -8, -7, 7, 0 ", Document.Read("docs/explanation/numerics.md").Text, StringComparison.Ordinal);
        Assert.Contains($"the word is `0x{BitConverter.ToUInt32(packed):X8}`", Document.Read("docs/explanation/numerics.md").Text, StringComparison.Ordinal);
    }

    /// <summary>The committed outcomes of <c>benchmarks/EncoderTable</c>, one for each seed.</summary>
    private static List<JsonElement> OutcomesOf(string folder) =>
        [.. Directory.GetFiles(Path.Combine(Document.Root, "benchmarks", "results", folder)).Select(path => JsonDocument.Parse(File.ReadAllText(path)).RootElement)];

    /// <summary>Of the outcomes whose name starts in a way, the one that dev chose.</summary>
    private static JsonElement BestOnDev(JsonElement seed, string start) => seed.EnumerateObject()
        .Where(item => item.Name.StartsWith(start, StringComparison.Ordinal)).MaxBy(item => item.Value.GetProperty("Dev").GetDouble()).Value;

    private static Document PageOf(string command) => Document.Read($"docs/reference/commands/{command}.md");

    private static IEnumerable<string> CommandLines(Document document) => document.CodeLines()
        .Select(line => line.Split('#', '>')[0].Trim())
        .Select(line => line == "nibble" ? null : line.StartsWith("nibble ", StringComparison.Ordinal) && !line.StartsWith("nibble  ", StringComparison.Ordinal) ? line["nibble ".Length..]
            : line.StartsWith(Run, StringComparison.Ordinal) ? line[Run.Length..] : null)
        .OfType<string>();

    /// <summary>The keys that may stand where a recipe has the word KEY.</summary>
    private static string[] KeysOf(string yaml)
    {
        // The complaint about an unknown key lists the known ones.
        var message = Assert.Throws<NibbleException>(() => RecipeFile.ParseYaml(yaml.Replace("KEY", "bogus", StringComparison.Ordinal), "test")).Message;
        var keys = KeyList().Match(message).Groups["keys"].Value.Split(", ");
        Assert.True(keys.Length > 2, message);
        return keys;
    }

    private static string RangeOf(RecipeRule rule) => rule.Range switch
    {
        WeightRange.Mse => ", least squared error",
        WeightRange.Search => ", searched",
        _ => string.Empty,
    };

    private static string ObserverOf(ActivationRule rule) => rule.Scheme.Granularity is not PerTensor ? string.Empty : ", " + rule.Observer switch
    {
        ObserverKind.MinMax => "min-max",
        ObserverKind.MovingAverage => "moving average",
        ObserverKind.Mse => "least squared error",
        var observer => observer.ToString().ToLowerInvariant(),
    };

    [GeneratedRegex("`(?<word>[A-Za-z]+)`", RegexOptions.ExplicitCapture)]
    private static partial Regex QuotedWord();

    [GeneratedRegex(@"\([^)]*\)")]
    private static partial Regex Parenthesis();

    [GeneratedRegex("`nibble (?<command>[a-z]+)[` ]", RegexOptions.ExplicitCapture)]
    private static partial Regex NamedCommand();

    [GeneratedRegex(@"(?<keys>\w+(, \w+)+)\.?\s*$", RegexOptions.ExplicitCapture)]
    private static partial Regex KeyList();
}
