using System.CommandLine;
using Nibble.Recipes;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Commands;

/// <summary>The arguments and options that <c>sensitivity</c> and <c>mix</c> share: what to try on the layers, and how to measure.</summary>
internal sealed class StudyArguments
{
    private const int DefaultGroupSize = 32;

    private static readonly string[] Algorithms = ["rtn", "importance", "hqq", "gptq", "gptaq"];

    private readonly int[] defaultWidths;
    private readonly Argument<string> model;
    private readonly TaskOptions task = new();
    private readonly Option<string[]> data;

    private readonly Option<int[]> bits;
    private readonly Option<string> algorithm =
        new("--algorithm")
        {
            Description = "Algorithms that choose the codes, comma-separated: rtn, importance, hqq, gptq or gptaq.",
            DefaultValueFactory = _ => "gptaq"
        };
    private readonly Option<int[]> groups = NumberOptions.Wholes(
        "--group-size", 1, int.MaxValue, "a number of weights of at least 1",
        $"Weights per scale; several values comma-separated. Default: {DefaultGroupSize}.", "32,64");

    private readonly Option<int?> windows = NumberOptions.AtLeast(
        "--windows", 1,
        $"Maximum number of held-out windows or texts to measure on, at most half of the data. "
            + $"Default: {StudyOptions.DefaultWindows} windows or {StudyOptions.DefaultTexts} texts.");

    private readonly Option<int?> context = NumberOptions.AtLeast(
        "--context", 4, "Tokens per window of text. Default: 512, or the model's limit if smaller.");
    private readonly Option<string?> cache = new("--cache")
    { Description = "Folder that caches measurements for later runs. Default: in the user's application data." };
    private readonly Option<long> seed = CommonOptions.Seed();
    private readonly Option<int?> threads = CommonOptions.Threads();

    /// <summary>Creates them.</summary>
    /// <param name="defaultWidths">Bit widths of weights to try unless the user names others.</param>
    /// <param name="onnxModel">What the command does with an ONNX file in place of a folder, for the help text; null if it takes none.</param>
    /// <param name="onnxData">What the data of an ONNX file is, for the help text.</param>
    public StudyArguments(int[] defaultWidths, string? onnxModel = null, string? onnxData = null)
    {
        this.defaultWidths = defaultWidths;
        model = CommonOptions.Model();
        model.Description += onnxModel;
        data = CommonOptions.Data(
            "Text, or one text per line for an encoder, in the format of eval. "
                + $"The first windows or texts are for calibration, the last ones are held out for measuring.{onnxData}",
            required: true);
        var defaults = string.Join(',', defaultWidths);
        bits = CommonOptions.Widths("--bits", $"Bit widths of weights to try, 2 to 8, comma-separated. Default: {defaults}.", defaults, "-b");
    }

    /// <summary>The model.</summary>
    public Argument<string> Model => model;

    /// <summary>The option that names the data.</summary>
    public Option<string[]> Data => data;

    /// <summary>All options besides the one that names the data.</summary>
    public IReadOnlyList<Option> Settings =>
        [bits, algorithm, groups, windows, context, cache, seed, threads, task.Task, task.Pooling, task.Normalize, task.MaxLength];

    /// <summary>Adds the shared arguments and options to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(model);
        foreach (var option in (Option[])[data, bits, algorithm, groups, windows, context, cache, seed, threads])
        {
            command.Add(option);
        }

        task.AddTo(command);
    }

    /// <summary>Loads model and data and runs the study. Measurements of a cancelled study are kept.</summary>
    /// <param name="host">Shows progress.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="work">Measures, and returns the exit code.</param>
    public int Run(CommandHost host, ParseResult parsed, Func<LayerStudy, int> work)
    {
        var widths = parsed.GetValue(bits) is { Length: > 0 } asked ? asked : defaultWidths;
        var sizes = parsed.GetValue(groups) is { Length: > 0 } given ? given : [DefaultGroupSize];
        var algorithms = parsed.GetValue(algorithm)!.Split(',');
        if (algorithms.GroupBy(name => name).FirstOrDefault(group => group.Count() > 1) is { Key: var twice })
        {
            throw new UsageException($"{algorithm.Name} names {twice} twice; name each algorithm once");
        }

        if (Array.Find(algorithms, name => !Algorithms.Contains(name)) is { } unknown)
        {
            throw new UsageException($"{algorithm.Name}: '{unknown}' is not one of {string.Join(", ", Algorithms)}.{Suggestion.For(unknown, Algorithms)}");
        }

        var recipes = (from name in algorithms
                       from size in sizes.OrderDescending()
                       from width in widths.Order()
                       select UsageException.Of(() => RecipePresets.Parse($"w{width}a16-g{size}-{name}"))).ToList();
        var folder = parsed.GetValue(cache) ?? DefaultCache();
        OutputPlace.RequireCache(folder, cache.Name);
        CommandHost.StartTorch(parsed.GetValue(threads));
        using var loaded = task.Open(parsed, parsed.GetValue(model)!);
        var length = task.WindowLength(parsed, context, loaded);
        var options = new StudyOptions(loaded, task.ReadData(host, parsed, parsed.GetValue(data)!, loaded), recipes, folder) { Seed = parsed.GetValue(seed) };
        using var study = new LayerStudy(options with { Windows = parsed.GetValue(windows) ?? options.Windows, Context = length ?? options.Context });
        try
        {
            return work(study);
        }
        catch (OperationCanceledException)
        {
            return host.Fail([Failure.Cancelled("cancelled; finished measurements are kept, and the same command resumes from there")]);
        }
        finally
        {
            host.Warn($"{study.Made} new measurements, cached in {folder}");
        }
    }

    private static string DefaultCache()
    {
        var data = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify);
        return data.Length > 0
            ? Path.Combine(data, "nibble", "measurements")
            : throw new NibbleException(
                "measurements are cached in the user's application data, but this user has none; name a folder with --cache, or set HOME");
    }
}
