using Nibble.Models;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Serving;
using Nibble.Onnx.Tests.Shared;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Serving;

public sealed class SentenceEncoderTests : IDisposable
{
    private const float Rounding = 2e-5f;

    private static readonly string[] Texts =
        ["good film", "w9 w10 w11 w12 w13 w14 w15 w16", "bad", "", "good films w20 w21", "w30 w31 bad w32 w33 film", "film", "good", "w39 w38 w37"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("bert", Pooling.Mean)]
    [InlineData("roberta", Pooling.FirstToken)]
    [InlineData("distilbert", Pooling.Max)]
    public void FloatEmbeddingsAreThoseOfTheSimulation(string type, Pooling pooling)
    {
        using var export = TinyExport.Embedding(folder, type: type, pooling: pooling);
        using var encoder = SentenceEncoder.Open(export.Path);

        var found = encoder.Encode(Texts, TestContext.Current.CancellationToken);

        Assert.Equal((TinyBert.Hidden, type == "roberta" ? TinyBert.Positions - 2 : TinyBert.Positions), (encoder.EmbeddingLength, encoder.MaxLength));
        Assert.Equal(Texts.Length, found.Length);
        Assert.All(Texts.Index(), text => Assert.InRange(BothWays.Difference(export.Simulate(text.Item), found[text.Index]), 0, Rounding));
    }

    [Theory]
    [InlineData("w8a8-static-mse")]
    [InlineData("w8a8")]
    [InlineData("w4a16-g16")]
    public void QuantizedEmbeddingsAreThoseOfTheEngine(string recipe)
    {
        using var export = TinyExport.Embedding(folder, recipe);
        using var encoder = SentenceEncoder.Open(export.Path);
        using var engine = OnnxRuntimeEncoder.Open(export.Path, threads: 1);

        // [CLS] good film [SEP]
        Assert.Equal(engine.Compute([2, 5, 7, 3], [1, 1, 1, 1], 4), encoder.Encode("good film"));

        // An input between two codes can take either.
        Assert.All(Texts, text => Assert.InRange(BothWays.Difference(export.Simulate(text), encoder.Encode(text)), 0, 0.05f));
    }

    [Theory]
    [InlineData(null, 1)]
    [InlineData(null, 2)]
    [InlineData(null, 100)]
    [InlineData("w8a8-static-mse", 4)]
    [InlineData("w8a8", 4)]
    public void BatchesAndTheirPaddingChangeNeitherOrderNorValues(string? recipe, int batchSize)
    {
        using var export = TinyExport.Embedding(folder, recipe);
        using var encoder = SentenceEncoder.Open(export.Path, new EncoderOptions { BatchSize = batchSize });

        var together = encoder.Encode(Texts, TestContext.Current.CancellationToken);

        Assert.All(Texts.Index(), text => Assert.InRange(BothWays.Difference(encoder.Encode(text.Item), together[text.Index]), 0, 1e-6f));
        Assert.True(BothWays.Difference(together[0], together[2]) > 0.01f);
    }

    [Fact]
    public void ThereMayBeNoTextAtAll()
    {
        using var export = TinyExport.Embedding(folder);
        using var encoder = SentenceEncoder.Open(export.Path);

        Assert.Empty(encoder.Encode([], TestContext.Current.CancellationToken));
        Assert.InRange(BothWays.Difference(export.Simulate(string.Empty), encoder.Encode(string.Empty)), 0, Rounding);
    }

    [Fact]
    public void LongTextsAreCutAndCounted()
    {
        using var export = TinyExport.Embedding(folder);
        var told = new List<string>();
        using var encoder = SentenceEncoder.Open(export.Path, new EncoderOptions { Logger = new ListLogger(told) });
        var longest = string.Join(' ', Enumerable.Repeat("good", TinyBert.Positions - 2));

        var fitting = encoder.Encode(longest);
        Assert.Empty(told);

        var found = encoder.Encode([longest + " bad", "bad", longest + " film w9"], TestContext.Current.CancellationToken);
        Assert.Equal(["2 of 3 texts are longer than 12 tokens and were cut"], told);
        Assert.InRange(BothWays.Difference(fitting, found[0]), 0, 1e-6f);
        Assert.InRange(BothWays.Difference(fitting, found[2]), 0, 1e-6f);
    }

    [Theory]
    [InlineData(4, 4, "good film")]
    [InlineData(1000, 12, "good film bad")]
    public void ALowerMaximumCutsEarlier(int asked, int taken, string kept)
    {
        using var export = TinyExport.Embedding(folder);
        using var encoder = SentenceEncoder.Open(export.Path, new EncoderOptions { MaxLength = asked });

        Assert.Equal(taken, encoder.MaxLength);
        Assert.Equal(encoder.Encode(kept), encoder.Encode("good film bad"));
    }

    [Fact]
    public void ConcurrentCallsGetTheSameEmbeddings()
    {
        using var export = TinyExport.Embedding(folder, "w8a8-static-mse");
        using var encoder = SentenceEncoder.Open(export.Path, new EncoderOptions { BatchSize = 4 });
        var expected = encoder.Encode(Texts, TestContext.Current.CancellationToken);
        var found = new float[64][][];

        Parallel.For(0, found.Length, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i => found[i] = encoder.Encode(Texts, CancellationToken.None));

        Assert.All(found, embeddings => Assert.Equal(expected, embeddings));
    }

    [Fact]
    public void CallsThatRunWhileItIsDisposedFinish()
    {
        using var export = TinyExport.Embedding(folder);
        for (var round = 0; round < 20; round++)
        {
            var encoder = SentenceEncoder.Open(export.Path);
            var expected = encoder.Encode("good film");
            var disposed = 0;
            Parallel.For(0, 16, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
            {
                if (i == 7)
                {
                    encoder.Dispose();
                }

                try
                {
                    Assert.Equal(expected, encoder.Encode("good film"));
                }
                catch (ObjectDisposedException)
                {
                    Interlocked.Increment(ref disposed);
                }
            });

            Assert.InRange(disposed, 1, 16);
        }
    }

    [Fact]
    public void ADisposedOneIsRefused()
    {
        using var export = TinyExport.Embedding(folder);
        var encoder = SentenceEncoder.Open(export.Path);
        encoder.Dispose();
        encoder.Dispose();

        Assert.Throws<ObjectDisposedException>(() => encoder.Encode("good"));
        Assert.Throws<ObjectDisposedException>(() => encoder.Encode(["good"], TestContext.Current.CancellationToken));
    }

    [Fact]
    public void ACallIsCancelled()
    {
        using var export = TinyExport.Embedding(folder);
        using var encoder = SentenceEncoder.Open(export.Path);

        Assert.Throws<OperationCanceledException>(() => encoder.Encode(Texts, new CancellationToken(canceled: true)));
    }

    [Fact]
    public void ArgumentsAreChecked()
    {
        using var export = TinyExport.Embedding(folder);
        using var encoder = SentenceEncoder.Open(export.Path);

        Assert.Throws<ArgumentNullException>(() => encoder.Encode((string)null!));
        Assert.Throws<ArgumentNullException>(() => encoder.Encode((string[])null!, TestContext.Current.CancellationToken));
        Assert.Contains("Text 1 is null", Assert.Throws<ArgumentException>(() => encoder.Encode(["good", null!], TestContext.Current.CancellationToken)).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>(() => SentenceEncoder.Open(null!));
        Assert.Throws<ArgumentOutOfRangeException>(nameof(EncoderOptions.Threads), () => SentenceEncoder.Open(export.Path, new EncoderOptions { Threads = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>(nameof(EncoderOptions.BatchSize), () => SentenceEncoder.Open(export.Path, new EncoderOptions { BatchSize = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>(nameof(EncoderOptions.MaxLength), () => SentenceEncoder.Open(export.Path, new EncoderOptions { MaxLength = 2 }));
    }

    [Fact]
    public void AMissingFileIsReported()
    {
        Refuses(folder.File("none.onnx"), $"There is no file {folder.File("none.onnx")}");
        Refuses(folder.Path, "is a folder, expected the ONNX file in it");
    }

    [Fact]
    public void AMissingTokenizerIsReported()
    {
        using var export = TinyExport.Embedding(folder);
        File.Move(export.Path, folder.File("alone.onnx"));

        Refuses(folder.File("alone.onnx"), "has no tokenizer. The export wrote the tokenizer's files, such as vocab.txt or tokenizer.json, next to alone.onnx");
    }

    [Fact]
    public void TheTokenizerOfAnotherModelIsReported()
    {
        using var export = TinyExport.Embedding(folder);
        File.AppendAllLines(Path.Combine(Path.GetDirectoryName(export.Path)!, "vocab.txt"), ["more"]);

        Refuses(export.Path, "The tokenizer belongs to another model");
    }

    [Fact]
    public void AClassifierIsReported()
    {
        using var export = TinyExport.Classifier(folder);

        Refuses(export.Path, "the model's task is classification, expected embedding");
    }

    [Fact]
    public void ADecoderIsReported()
    {
        BothWays.Export(new TinyLlama().Write(folder.File("decoder")), folder.File("decoder.onnx"));

        Refuses(folder.File("decoder.onnx"), "expected an encoder, as Nibble exports it");
    }

    [Fact]
    public void AFileOfAnotherToolIsReported()
    {
        using var export = TinyExport.Embedding(folder);
        var model = ModelProto.Parser.ParseFrom(File.ReadAllBytes(export.Path));
        model.MetadataProps.Clear();
        model.ProducerName = "pytorch";
        File.WriteAllBytes(export.Path, Google.Protobuf.MessageExtensions.ToByteArray(model));

        Refuses(export.Path, "ONNX files of other tools are not supported (this one is from pytorch)");
    }

    private static void Refuses(string path, string message) =>
        Assert.Contains(message, Assert.Throws<NibbleException>(() => SentenceEncoder.Open(path)).Message, StringComparison.Ordinal);
}
