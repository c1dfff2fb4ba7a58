using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Nibble.Onnx.Serving;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Serving;

public sealed class ServingExtensionsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void TheContainerLoadsOneAndDisposesIt()
    {
        using var export = TinyExport.Embedding(folder);
        SentenceEncoder encoder;
        using (var services = new ServiceCollection().AddSentenceEncoder(export.Path).BuildServiceProvider())
        {
            encoder = services.GetRequiredService<SentenceEncoder>();
            using var scope = services.CreateScope();
            Assert.Same(encoder, scope.ServiceProvider.GetRequiredService<SentenceEncoder>());
            Assert.Equal(encoder.EmbeddingLength, encoder.Encode("good").Length);
        }

        Assert.Throws<ObjectDisposedException>(() => encoder.Encode("good"));
    }

    [Fact]
    public void AClassifierToo()
    {
        using var export = TinyExport.Classifier(folder);
        TextClassifier classifier;
        using (var services = new ServiceCollection().AddTextClassifier(export.Path, new EncoderOptions { MaxLength = 5 }).BuildServiceProvider())
        {
            classifier = services.GetRequiredService<TextClassifier>();
            Assert.Equal(5, classifier.MaxLength);
        }

        Assert.Throws<ObjectDisposedException>(() => classifier.Classify("good"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheRegisteredLoggerIsUsedUnlessTheOptionsHaveOne(bool hasOwn)
    {
        using var export = TinyExport.Embedding(folder);
        var (own, registered) = (new List<string>(), new List<string>());
        using var services = new ServiceCollection().AddSingleton<ILoggerFactory>(new ListLoggerFactory(registered))
            .AddSentenceEncoder(export.Path, new EncoderOptions { MaxLength = 3, Logger = hasOwn ? new ListLogger(own) : null }).BuildServiceProvider();

        services.GetRequiredService<SentenceEncoder>().Encode("good film");

        const string Cut = "1 of 1 texts are longer than 3 tokens and were cut";
        Assert.Equal(hasOwn ? [Cut] : [], own);
        Assert.Equal(hasOwn ? [] : [typeof(SentenceEncoder).FullName!, Cut], registered);
    }

    [Fact]
    public void AMissingFileIsReportedAtRegistration()
    {
        var services = new ServiceCollection();

        Assert.Contains("There is no file", Assert.Throws<NibbleException>(() => services.AddSentenceEncoder(folder.File("none.onnx"))).Message,
            StringComparison.Ordinal);
        Assert.Contains("There is no file", Assert.Throws<NibbleException>(() => services.AddTextClassifier(folder.File("none.onnx"))).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>("services", () => ServingExtensions.AddSentenceEncoder(null!, "model.onnx"));
        Assert.Throws<ArgumentNullException>("path", () => services.AddSentenceEncoder(null!));
        Assert.Empty(services);
    }

    private sealed class ListLoggerFactory(ICollection<string> told) : ILoggerFactory
    {
        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

        public ILogger CreateLogger(string categoryName)
        {
            told.Add(categoryName);
            return new ListLogger(told);
        }

        public void Dispose()
        {
            // Holds nothing.
        }
    }
}
