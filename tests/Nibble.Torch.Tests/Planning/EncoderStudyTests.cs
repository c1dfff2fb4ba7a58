using Nibble.Torch.Data;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Models;
using Nibble.Torch.Planning;
using Nibble.Torch.Tasks;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Planning;

/// <summary>Studies and advice of encoders.</summary>
public sealed class EncoderStudyTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("w2a16-g16")]
    [InlineData("w2a16-g16-gptq")]
    public void LayersOfTheHeadAreMeasuredToo(string recipe)
    {
        using var model = LoadedModel.Open(new TinyBert().Write(folder.File("model")));
        using var study = Study(model, recipe);
        var measured = study.MeasureWeights();

        Assert.Equal(14, measured.Count);
        Assert.All((string[])["bert.pooler.dense", "classifier"], layer =>
            Assert.InRange(measured.Single(item => item.Layer == layer).Distance.Divergence, 1e-7, 10));
        Assert.Equal(measured.Select(item => item.Layer), study.EstimateWeights().Select(item => item.Layer));
    }

    [Fact]
    public void OneFolderForTwoPoolingsIsTwoModels()
    {
        var path = WriteHeadless();
        var found = new List<IReadOnlyList<LayerDistance>>();
        foreach (var pooling in (Pooling[])[Pooling.Mean, Pooling.Max])
        {
            using var model = LoadedModel.Open(path, new TaskConfig(ModelTask.Embedding, pooling));
            using var study = Study(model, "w2a16-g16");
            found.Add(study.MeasureWeights());
            Assert.Equal(found[^1].Count, study.Made);
            Assert.Empty(study.EstimateWeights());
        }

        Assert.NotEqual(found[0][0].Distance, found[1][0].Distance);
    }

    [Fact]
    public void WhatLearnsFromTheFloatModelIsHeldAgainstItWithoutAControl()
    {
        using var model = LoadedModel.Open(WriteHeadless(), new TaskConfig(ModelTask.Embedding));
        var data = Read(model);
        var candidates = Candidate.For(4, 16, 16, Engine.Nibble, encoder: true)
            .Select(candidate => candidate with { Recipe = candidate.Recipe with { Qat = candidate.Recipe.Qat with { Steps = 3, BatchSize = 4 } } }).ToList();
        var result = Advisor.Run(new AdvisorOptions(model, data, data, candidates));

        Assert.Equal((ModelTask.Embedding, null, null), (result.Task, result.FloatLoss, result.Control));
        Assert.Equal(["qat w4a16-g16-encoder"], result.Curves.Select(curve => curve.Name));
        var trained = result.Options.Single(option => option.Trains);
        Assert.Equal((Evidence.Measured, trained.Loss), (trained.Evidence, trained.Quantization));
        Assert.InRange(trained.Loss.Value, 1e-6, 0.5);
        Assert.InRange(trained.Tokens, 3 * 4 * 3, 3 * 4 * TinyBert.Positions);
    }

    private string WriteHeadless() => new TinyBert().Write(folder.File("model"), tensors =>
    {
        tensors.Remove("classifier.weight");
        tensors.Remove("classifier.bias");
    });

    private LayerStudy Study(LoadedModel model, string recipe) =>
        new(new StudyOptions(model, Read(model), [PlanningRecipes.Parse(recipe)], folder.File("cache")));

    private ITaskData Read(LoadedModel model)
    {
        var path = folder.File("texts.tsv");
        File.WriteAllLines(path, Enumerable.Range(0, 12).Select(i => $"good w{9 + i} film w{12 + (i * 2)}\t{Rest(i)}"));
        return ModelTasks.Of(model.Definition).Read(path, model, new ReadOptions(), TestContext.Current.CancellationToken);

        string Rest(int i) => model.Definition.Task == ModelTask.Classification ? $"{i % 3}" : $"w{20 + i} bad\t{i}";
    }
}
