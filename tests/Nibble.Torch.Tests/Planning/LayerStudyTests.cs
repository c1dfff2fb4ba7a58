using Nibble.Planning;
using Nibble.Torch.Models;
using Nibble.Torch.Planning;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Planning;

public sealed class LayerStudyTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly LoadedModel source;

    public LayerStudyTests() => source = new TinyLlama().Open(folder);

    public void Dispose()
    {
        source.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void MeasureWeightsOfOneLayerIsThatOfARecipeForIt()
    {
        using var study = Study("w2a16-g8-gptq");
        var alone = study.MeasureWeights().Single(item => item.Layer == "model.layers.0.mlp.down_proj");
        var recipe = PlanningRecipes.Parse("w2a16-g8-gptq");
        recipe = recipe with { Rules = [recipe.Rules[^1] with { Pattern = alone.Layer }] };

        Assert.Equal(alone.Distance.Divergence, study.Measure(recipe).Distance.Divergence, 1e-5);
        Assert.InRange(alone.Distance.Divergence, 1e-6, 10);
        Assert.InRange(alone.Distance.DivergenceError, 1e-9, 1);
    }

    [Fact]
    public void AStudyThatWasStoppedGoesOnAndGivesTheSameAndTheNextMeasuresNothing()
    {
        using var stop = new CancellationTokenSource();
        using (var stopped = Study("w2a16-g8", "w4a16-g8"))
        {
            Assert.Throws<OperationCanceledException>(
                () => stopped.MeasureWeights(new Told(progress => { if (progress is { Stage: "measure", Done: 5 }) { stop.Cancel(); } }), stop.Token));
            Assert.Equal(5, stopped.Made);
        }

        using var resumed = Study("w2a16-g8", "w4a16-g8");
        var all = resumed.MeasureWeights();
        Assert.Equal((28, 23), (all.Count, resumed.Made));

        using var again = Study("w2a16-g8", "w4a16-g8");
        Assert.Equal(all, again.MeasureWeights());
        Assert.Equal(0, again.Made);

        using var elsewhere = StudyIn(folder.File("other"), "w2a16-g8", "w4a16-g8");
        Assert.Equal(all, elsewhere.MeasureWeights());
    }

    [Fact]
    public void AMeasurementThatIsDamagedIsNotBelieved()
    {
        using (var study = Study("w2a16-g8"))
        {
            study.MeasureActivations([8]);
        }

        var file = Directory.EnumerateFiles(folder.File("cache"), "*.json").First();
        var text = File.ReadAllText(file);
        var digit = text.LastIndexOfAny([.. "0123456789"]);
        RequireDamaged(text[..digit] + (text[digit] == '7' ? '8' : '7') + text[(digit + 1)..]);
        RequireDamaged(text[..(text.Length / 2)]);
        RequireDamaged("{}");
        RequireDamaged("null");
        File.Delete(file);
        using var again = Study("w2a16-g8");
        again.MeasureActivations([8]);
        Assert.Equal((1, text), (again.Made, File.ReadAllText(file)));

        void RequireDamaged(string changed)
        {
            File.WriteAllText(file, changed);
            using var study = Study("w2a16-g8");
            var message = Assert.Throws<Nibble.Files.DamagedFileException>(() => study.MeasureActivations([8])).Message;
            Assert.StartsWith($"{file} is damaged: ", message, StringComparison.Ordinal);
            Assert.EndsWith("; delete the file to measure it again", message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void AnotherTextIsMeasuredAnew()
    {
        using var study = Study("w2a16-g8");
        study.MeasureActivations([8]);
        using var other = new LayerStudy(study.Options with { Data = Texts.Random(600, seed: 2) });
        other.MeasureActivations([8]);

        Assert.Equal((14, 14), (study.Made, other.Made));
    }

    [Fact]
    public void MeasureActivationsLeavesTheModelAsItWasAndFewerBitsAreWorse()
    {
        using var study = Study("w4a16-g8");
        var measured = study.MeasureActivations([8, 2]);

        Assert.All(source.Llama().Linears, linear => Assert.Null(linear.Value.InputQuantizer));
        Assert.True(measured.Where(item => item.Change == "a2").Sum(item => item.Distance.Divergence) > 10 * measured.Where(item => item.Change == "a8")
            .Sum(item => item.Distance.Divergence));
    }

    [Fact]
    public void EstimateWeightsFollowsTheMeasuredDivergence()
    {
        using var study = Study("w2a16-g8", "w4a16-g8");
        var estimates = study.EstimateWeights();
        var measured = study.MeasureWeights();

        Assert.Equal(measured.Select(item => (item.Layer, item.Change)), estimates.Select(item => (item.Layer, item.Change)));
        Assert.InRange(RankCorrelation.Spearman([.. measured.Select(item => item.Distance.Divergence)], [.. estimates.Select(item => item.Fisher)]), 0.5, 1);
        Assert.Equal(estimates, study.EstimateWeights());
    }

    [Theory]
    [InlineData("w4a16-g8-awq")]
    [InlineData("w4a16-g8-gptq-signround")]
    [InlineData("w4a8-g8")]
    [InlineData("w4a16-g8-rotated")]
    public void RecipesThatChangeMoreThanALayersWeightsAreRefused(string preset) =>
        Assert.Contains("cannot be measured one layer at a time", Assert.Throws<NibbleException>(() => Study(preset)).Message, StringComparison.Ordinal);

    [Fact]
    public void ATextOfOneWindowIsRefused() =>
        Assert.Contains("expected at least two windows of 32",
            Assert.Throws<NibbleException>(() => new LayerStudy(Options(folder.File("cache"), ["w4a16-g8"]) with { Data = Texts.Random(40) })).Message,
            StringComparison.Ordinal);

    private LayerStudy Study(params string[] presets) => StudyIn(folder.File("cache"), presets);

    private LayerStudy StudyIn(string cache, params string[] presets) => new(Options(cache, presets));

    private StudyOptions Options(string cache, string[] presets) =>
        new(source, Texts.Random(600), [.. presets.Select(PlanningRecipes.Parse)], cache) { Windows = 4, Context = 32 };
}
