using System.Globalization;
using Nibble.Numerics;
using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Torch.Planning;

/// <summary>Finds the bit widths and algorithms of a model's layers with the lowest cost within a budget.</summary>
/// <remarks>
/// The predicted cost of a recipe is the sum of its layers' own costs, measured as Kullback-Leibler divergence from the float model. The choice is an integer
/// program (as in HAWQ-V3, Yao et al. 2021). The sum ignores interactions between layers. Therefore the recipes with one width and the recipes of the front are
/// actually quantized and measured, and their losses calibrate the prediction (<see cref="LossModel"/>). At the budget, several recipes are measured. Each is
/// the best one given the costs learned from those before it (<see cref="CostBelief"/>), and the best of them is taken.
/// </remarks>
internal sealed class MixPlanner
{
    private readonly LayerStudy study;
    private readonly MixOptions options;
    private readonly LayerChoices choices;
    private readonly IReadOnlyList<Recipe> recipes;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private readonly IReadOnlyList<LayerDistance> layers;
    private readonly ChoiceProblem problem;
    private readonly List<(int[] Selection, RecipeDistance Measured)> uniform;
    private readonly Dictionary<string, Observation> observations = new(StringComparer.Ordinal);

    private MixPlanner(LayerStudy study, MixOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        this.study = study;
        this.options = options;
        this.progress = progress;
        this.cancellation = cancellation;
        recipes = study.Options.Recipes;
        choices = new LayerChoices(study.Source.Model, study.Layers, recipes, options.Tied);
        layers = study.MeasureWeights(progress, cancellation);
        problem = Problem(Costs(layers));
        uniform = [.. Enumerable.Range(0, recipes.Count).Select(recipe => (choices.Uniform(recipe), Observe(choices.Uniform(recipe), recipes[recipe])))];
    }

    /// <summary>Finds a recipe.</summary>
    /// <param name="study">Measures the model. Its recipes are the choices for each layer.</param>
    /// <param name="options">The options.</param>
    /// <param name="progress">Receives progress after each layer and measurement.</param>
    /// <param name="cancellation">Cancels between measurements, which are kept.</param>
    /// <exception cref="NoSolutionException">No recipe meets the budget.</exception>
    /// <exception cref="NibbleException">The budget limits bits of codes, but the recipes' groups differ in size.</exception>
    public static MixResult Run(LayerStudy study, MixOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(study);
        ArgumentNullException.ThrowIfNull(options);
        if (options.Budget.Kind == BudgetKind.AverageBits
            && study.Options.Recipes.SelectMany(recipe => recipe.Rules).Select(rule => rule.Weights?.Granularity).OfType<Granularity>().Distinct().Count() > 1)
        {
            throw new NibbleException(
                $"the budget of {options.Budget} counts bits of codes, which do not depend on the group size. Use a budget in bytes, for example 200KB, or "
                + $"recipes with the same group size");
        }

        return new MixPlanner(study, options, progress, cancellation).Run();
    }

    private MixResult Run()
    {
        var chosen = options.Budget.Kind == BudgetKind.Loss ? WithinLoss(options.Budget.Amount) : WithinSize();
        var front = Front().Select(selection => (Selection: selection, Measured: Observe(selection, Named(selection)))).ToList();
        var model = LossModel.Fit([.. observations.Values]);
        var result = new MixResult(
            Point(chosen.Selection, chosen.Measured),
            [.. front.Select(point => Point(point.Selection, point.Measured))],
            [.. uniform.Select((point, recipe) => Point(point.Selection, point.Measured) with { Recipe = recipes[recipe] })],
            layers)
        {
            Methods = options.QatMinutes is { } minutes ? MethodPlanner
                .Run(study, (Named(chosen.Selection), chosen.Measured.Distance), 60 * minutes, CostsOf(Named(chosen.Selection)), progress, cancellation) : [],
        };
        return result with { Summary = study.Summarize(result.Recipe) };

        MixPoint Point(int[] selection, RecipeDistance measured) =>
            new(Named(selection), choices.AverageBits(selection), model.Predict(problem.CostOf(selection)), measured);
    }

    /// <summary>The best measured selection within the size limit.</summary>
    private (int[] Selection, RecipeDistance Measured) WithinSize()
    {
        var limit = Limit();
        var best = Solve(problem, limit);
        var belief = new CostBelief(problem);
        belief.Add(best.Selection, best.Measured.Distance.Divergence);
        var random = SeededRandom.Create(study.Options.Seed);
        for (var round = 0; round < options.Rounds; round++)
        {
            var next = Solve(belief.Draw(random), limit);
            belief.Add(next.Selection, next.Measured.Distance.Divergence);
            best = next.Measured.Distance.Divergence < best.Measured.Distance.Divergence ? next : best;
        }

        return best;
    }

    private (int[] Selection, RecipeDistance Measured) Solve(ChoiceProblem problem, double limit)
    {
        // Recipes differ by a few bytes in the names and shapes in the file's header.
        for (var slack = 0L; ;)
        {
            var selection = ChoiceSolver.LeastCost(problem, (long)Math.Floor(limit) - slack) ?? throw TooSmall();
            var measured = Observe(selection, Named(selection));
            if (options.Budget.Kind != BudgetKind.Bytes || measured.Bytes <= options.Budget.Amount)
            {
                return (selection, measured);
            }

            slack += measured.Bytes - (long)options.Budget.Amount;
        }
    }

    /// <summary>The size limit for the layers, in the unit of the integer program.</summary>
    private double Limit() => options.Budget.Kind == BudgetKind.Bytes
        ? options.Budget.Amount - (uniform[0].Measured.Bytes - problem.SizeOf(uniform[0].Selection))
        : options.Budget.Amount * choices.WeightCount;

    private LossUnit Unit => LossUnit.Of(study.Source.Definition.Task);

    private NoSolutionException TooSmall()
    {
        var least = uniform.MinBy(point => options.Budget.Kind == BudgetKind.Bytes ? point.Measured.Bytes : choices.AverageBits(point.Selection));
        var fewer = recipes.SelectMany(recipe => recipe.Rules).Min(rule => rule.Weights?.Bits) > QuantizationScheme.MinBits;
        return new NoSolutionException(string.Create(
            CultureInfo.InvariantCulture,
            $"no recipe meets the budget of {options.Budget}: the nearest has {choices.AverageBits(least.Selection):0.##} bits on average and "
                + $"{least.Measured.Bytes:N0} bytes, with {recipes[least.Selection[0]].Name} for every layer, "
                + $"and loses {least.Measured.Distance.Loss:0.####} {Unit.Amount}; "
                + $"raise the budget{(fewer ? " or allow lower bit widths" : string.Empty)}"));
    }

    /// <summary>The smallest measured selection with at most the given loss.</summary>
    private (int[] Selection, RecipeDistance Measured) WithinLoss(double loss)
    {
        var sum = LossModel.Fit([.. observations.Values]).SumFor(loss);
        var best = uniform.Where(point => point.Measured.Distance.Loss <= loss).OrderBy(point => problem.SizeOf(point.Selection))
            .Select(point => ((int[], RecipeDistance)?)point).FirstOrDefault();
        for (var round = 0; round <= options.Rounds; round++)
        {
            if (ChoiceSolver.LeastSize(problem, sum) is not { } selection)
            {
                break;
            }

            var measured = Observe(selection, Named(selection));
            if (measured.Distance.Loss <= loss && (best is null || problem.SizeOf(selection) < problem.SizeOf(best.Value.Item1)))
            {
                best = (selection, measured);
            }

            // Assume that the loss is off by the same factor as the sum.
            sum *= loss / Math.Max(measured.Distance.Loss, loss / 4);
        }

        if (best is { } found)
        {
            return found;
        }

        var nearest = uniform.MinBy(point => point.Measured.Distance.Loss);
        throw new NoSolutionException(string.Create(
            CultureInfo.InvariantCulture,
            $"no recipe meets the budget of {options.Budget}: the nearest loses {nearest.Measured.Distance.Loss:0.####} {Unit.Amount} with "
                + $"{recipes[nearest.Selection[0]].Name} for every layer; raise the budget, allow higher bit widths or try another algorithm"));
    }

    /// <summary>The selections with the lowest cost for sizes between the smallest and the largest, without duplicates.</summary>
    private IEnumerable<int[]> Front()
    {
        var (least, most) = (problem.LeastSize, problem.Items.Sum(item => item.Max(choice => choice.Size)));
        return Enumerable.Range(0, options.FrontPoints)
            .Select(point => least * Math.Pow((double)most / least, (point + 1d) / (options.FrontPoints + 1)))
            .Select(size => ChoiceSolver.LeastCost(problem, (long)size)!)
            .DistinctBy(selection => string.Join(',', selection));
    }

    private RecipeDistance Observe(int[] selection, Recipe recipe)
    {
        var measured = study.Measure(recipe, progress, cancellation);
        observations[string.Join(',', selection)] = new Observation(problem.CostOf(selection), measured.Distance.Loss);
        return measured;
    }

    private Recipe Named(int[] selection) =>
        choices.Recipe(selection, string.Create(CultureInfo.InvariantCulture, $"mixed-{choices.AverageBits(selection):0.00}bits"));

    private ChoiceProblem Problem(Func<string, int, double> cost) =>
        choices.Problem(cost, options.Budget.Kind == BudgetKind.Bytes ? choices.Bytes : choices.CodeBits);

    /// <summary>The cost of quantizing each layer separately with its rule in a recipe.</summary>
    private Dictionary<string, double> CostsOf(Recipe recipe) => study.Layers.ToDictionary(
        layer => layer,
        layer =>
        {
            var rule = recipe.RuleFor(layer)!;
            var change = recipes.First(
                one => one.RuleFor(layer) is { } its && (its.Weights, its.Algorithms, its.Range) == (rule.Weights, rule.Algorithms, rule.Range)).Name;
            return layers.First(item => item.Layer == layer && item.Change == change).Distance.Divergence;
        });

    private Func<string, int, double> Costs(IReadOnlyList<LayerDistance> measured)
    {
        var costs = measured.ToDictionary(item => (item.Layer, item.Change), item => item.Distance.Divergence);
        return (layer, recipe) => costs[(layer, recipes[recipe].Name)];
    }
}
