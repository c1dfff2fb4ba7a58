using System.CommandLine;
using Nibble.Recipes;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Commands;

/// <summary>What <c>sensitivity</c> and <c>mix</c> are told alike: what to try on the layers, and how to measure.</summary>
internal sealed class StudyArguments
{
    private const int UsualGroupSize = 32;

    private static readonly string[] Algorithms = ["rtn", "importance", "hqq", "gptq", "gptaq"];

    private readonly int[] usualWidths;
    private readonly Argument<string> model = CommonOptions.Model();
    private readonly TaskOptions task = new();
    private readonly Option<string> data = new("--data", "-d")
    {
        Description = "A text, or texts in lines for an encoder, as eval reads them: "
            + "the first windows or texts calibrate, the last ones are held out to measure on.",
        Required = true,
    };

    private readonly Option<int[]> bits;
    private readonly Option<string> algorithm =
        new("--algorithm")
        {
            Description = "How codes are chosen: rtn, importance, hqq, gptq or gptaq; several with commas between them.",
            DefaultValueFactory = _ => "gptaq"
        };
    private readonly Option<int[]> groups = NumberOptions.Wholes(
        "--group-size", 1, int.MaxValue, "a number of weights, 1 or more,",
        $"Weights that share a scale; several with commas between them; {UsualGroupSize} when not given.", "32,64");

    private readonly Option<int?> windows = NumberOptions.AtLeast(
        "--windows", 1,
        $"Held-out windows or texts to measure on at most, and no more than half of the data; "
            + $"{StudyOptions.UsualWindows} windows or {StudyOptions.UsualTexts} texts when not given.");

    private readonly Option<int?> context = NumberOptions.AtLeast(
        "--context", 4, "Tokens in a window of a text; 512 when not given, or what the model can take.");
    private readonly Option<string?> cache = new("--cache")
    { Description = "Where measurements are kept for the next run; in the user's application data when not given." };
    private readonly Option<long> seed = CommonOptions.Seed();
    private readonly Option<int?> threads = CommonOptions.Threads();

    public StudyArguments(int[] usualWidths)
    {
        this.usualWidths = usualWidths;
        var usual = string.Join(',', usualWidths);
        bits = CommonOptions.Widths("--bits", $"Widths of weights to try, 2 to 8, with commas between them; {usual} when not given.", usual, "-b");
    }

    /// <summary>Adds what is shared to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(model);
        foreach (var option in (Option[])[data, bits, algorithm, groups, windows, context, cache, seed, threads])
        {
            command.Add(option);
        }

        task.AddTo(command);
    }

    /// <summary>Loads model and data and works on the study of them. What a cancelled study has measured is kept.</summary>
    /// <param name="host">Where to show progress.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="work">Measures, and returns the exit code.</param>
    public int Run(CommandHost host, ParseResult parsed, Func<LayerStudy, int> work)
    {
        var widths = parsed.GetValue(bits) is { Length: > 0 } asked ? asked : usualWidths;
        var sizes = parsed.GetValue(groups) is { Length: > 0 } given ? given : [UsualGroupSize];
        var algorithms = parsed.GetValue(algorithm)!.Split(',');
        if (algorithms.GroupBy(name => name).FirstOrDefault(group => group.Count() > 1) is { Key: var twice })
        {
            throw new UsageException($"{algorithm.Name} names {twice} twice, expected different ones");
        }

        if (Array.Find(algorithms, name => !Algorithms.Contains(name)) is { } unknown)
        {
            throw new UsageException($"{algorithm.Name}: '{unknown}' is not one of {string.Join(", ", Algorithms)}.{Suggestion.For(unknown, Algorithms)}");
        }

        var recipes = (from name in algorithms
                       from size in sizes.OrderDescending()
                       from width in widths.Order()
                       select UsageException.Of(() => RecipePresets.Parse($"w{width}a16-g{size}-{name}"))).ToList();
        var folder = parsed.GetValue(cache) ?? UsualCache();
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
            return host.Fail([Failure.Cancelled("cancelled; what is measured is kept, and the same command resumes from there")]);
        }
        finally
        {
            host.Warn($"{study.Made} new measurements, kept in {folder}");
        }
    }

    private static string UsualCache()
    {
        var data = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify);
        return data.Length > 0
            ? Path.Combine(data, "nibble", "measurements")
            : throw new NibbleException("measurements are kept in the user's application data, and this user has none: name a folder by --cache, or set HOME");
    }
}
