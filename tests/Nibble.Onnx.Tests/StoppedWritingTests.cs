using Nibble.Cli.Engines;
using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests;

/// <summary>Exports and imports tell how far they are, and what is stopped between two tensors leaves nothing.</summary>
public sealed class StoppedWritingTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("gguf")]
    [InlineData("gptq")]
    [InlineData("onnx")]
    [InlineData("import gguf")]
    [InlineData("import onnx")]
    [InlineData("import gptq")]
    public void WhatIsStoppedLeavesNothing(string what)
    {
        var source = Source(what);
        using var stop = new CancellationTokenSource();
        var told = new Told(() => stop.Cancel());
        Directory.CreateDirectory(folder.File("out"));
        Assert.Throws<OperationCanceledException>(() => Run(what, source, folder.File("out/result"), told, stop.Token));

        Assert.Equal(1, told.Reports.Single().Done);
        Assert.Empty(Directory.GetFileSystemEntries(folder.File("out")));

        var whole = new Told(() => { });
        Run(what, source, folder.File("out/result"), whole, TestContext.Current.CancellationToken);
        Assert.Equal(Enumerable.Range(1, (int)whole.Reports[0].Total).Select(done => (long)done), whole.Reports.Select(report => report.Done));
    }

    private static void Run(string what, string source, string path, IProgress<RunProgress> progress, CancellationToken cancellation)
    {
        switch (what)
        {
            case "gguf":
                GgufExporter.Run(source, path, type: null, embeddings: null, progress, cancellation);
                break;
            case "gptq":
                CheckpointExporter.Run(source, path, CheckpointFormat.Gptq, progress, cancellation);
                break;
            case "onnx":
                OnnxExport.Run(source, path, OnnxExport.MostInlineBytes, progress: progress, cancellation: cancellation);
                break;
            default:
                FileImport.Run(source, path, progress, cancellation);
                break;
        }
    }

    private string Source(string what)
    {
        var artifact = folder.File("artifact");
        using (var model = LoadedModel.Open(new TinyLlama().Write(folder.File("model"))))
        {
            QuantizedModelFile.Save(
                PostTrainingQuantizer.Run(model, RecipePresets.Parse("w4a16-g32-sym"), null, seed: 1, cancellation: TestContext.Current.CancellationToken),
                artifact);
        }

        if (what.StartsWith("import ", StringComparison.Ordinal))
        {
            var exported = folder.File(what == "import gptq" ? "exported" : $"exported.{what["import ".Length..]}");
            Run(what["import ".Length..], artifact, exported, new Told(() => { }), CancellationToken.None);
            return exported;
        }

        return artifact;
    }

    private sealed class Told(Action first) : IProgress<RunProgress>
    {
        public List<RunProgress> Reports { get; } = [];

        public void Report(RunProgress value)
        {
            Reports.Add(value);
            if (Reports.Count == 1)
            {
                first();
            }
        }
    }
}
