using Nibble.Onnx.Serving;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Serving;

public sealed class TextClassifierTests : IDisposable
{
    private static readonly string[] Texts = ["good film", "w9 w10 w11 w12 w13", "", "bad films", "w30"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(null, 1e-4)]
    [InlineData("w8a8-static-mse", 0.02)]
    public void ProbabilitiesAreThoseOfTheSimulation(string? recipe, double tolerance)
    {
        using var export = TinyExport.Classifier(folder, recipe);
        using var classifier = TextClassifier.Open(export.Path, new EncoderOptions { BatchSize = 2 });

        var found = classifier.Classify(Texts, TestContext.Current.CancellationToken);

        Assert.Equal(["a", "b", "c"], classifier.Labels);
        Assert.Equal(TinyBert.Positions, classifier.MaxLength);
        Assert.All(Texts.Index(), text =>
        {
            var powers = Array.ConvertAll(export.Simulate(text.Item), logit => Math.Exp(logit));
            var (label, probability, probabilities) = found[text.Index];
            Assert.All(probabilities.Index(), value => Assert.Equal(powers[value.Index] / powers.Sum(), value.Item, tolerance));
            Assert.Equal(probabilities.Max(), probability);
            Assert.Equal(probability, probabilities[classifier.Labels.ToList().IndexOf(label)]);
        });
    }

    [Fact]
    public void OneTextGetsTheSameAsInABatch()
    {
        using var export = TinyExport.Classifier(folder);
        using var classifier = TextClassifier.Open(export.Path);

        var together = classifier.Classify(Texts, TestContext.Current.CancellationToken);

        Assert.All(Texts.Index(), text =>
        {
            var alone = classifier.Classify(text.Item);
            Assert.Equal(together[text.Index].Label, alone.Label);
            Assert.Equal(together[text.Index].Probability, alone.Probability, 1e-6);
        });
    }

    [Fact]
    public void LargeLogitsDoNotOverflow()
    {
        using var export = TinyExport.Classifier(folder, scale: 1000);
        using var classifier = TextClassifier.Open(export.Path);

        Assert.Contains(Texts, text => export.Simulate(text).Max() > 100);
        Assert.All(Texts, text => Assert.Equal(1, classifier.Classify(text).Probabilities.Sum(), 1e-5));
    }

    [Fact]
    public void LongTextsAreCutAndCounted()
    {
        using var export = TinyExport.Classifier(folder);
        var told = new List<string>();
        using var classifier = TextClassifier.Open(export.Path, new EncoderOptions { MaxLength = 3, Logger = new ListLogger(told) });

        Assert.Equal(classifier.Classify("good").Probabilities, classifier.Classify("good film").Probabilities);
        Assert.Equal(["1 of 1 texts are longer than 3 tokens and were cut"], told);
    }

    [Fact]
    public void AnEmbeddingModelIsReported()
    {
        using var export = TinyExport.Embedding(folder);

        Assert.Contains(
            "the model's task is embedding, expected classification", Assert.Throws<NibbleException>(() => TextClassifier.Open(export.Path)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void ADisposedOneAndNoTextAreRefused()
    {
        using var export = TinyExport.Classifier(folder);
        var classifier = TextClassifier.Open(export.Path);
        Assert.Throws<ArgumentNullException>(() => classifier.Classify((string)null!));
        classifier.Dispose();

        Assert.Throws<ObjectDisposedException>(() => classifier.Classify("good"));
    }
}
