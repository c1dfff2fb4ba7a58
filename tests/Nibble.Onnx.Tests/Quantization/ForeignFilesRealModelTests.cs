using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Dynamic;
using Nibble.Onnx.Quantization.Weights;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>Files that other programs wrote, of operator sets 8 to 15, with graphs inside nodes.</summary>
public sealed class ForeignFilesRealModelTests
{
    [Theory]
    [InlineData("opt-mnist.onnx", 1)]
    [InlineData("yunet_n_320_320.onnx", 0)]
    [InlineData("version-RFB-320.onnx", 0)]
    [InlineData("ch_ppocr_mobile_v2.0_cls_infer.onnx", 1)]
    [InlineData("silero_vad_16k_op15.onnx", 0)]
    [InlineData("pgd_2_3_16.onnx", 13)] // 2 layers of 6, and the head
    public void EngineTakesWhatBecomesOfThem(string file, int products)
    {
        var path = SharedData.Require(Path.Combine("onnx", file));
        using var folder = new TemporaryFolder();
        var source = BasicOptimizer.Optimize(OnnxModelReader.Read(path), path, folder.Path).Model;
        foreach (var apply in (Func<OnnxGraph, IReadOnlyList<NodeDecision>>[])[
            graph => DynamicQuantizer.Apply(graph, new DynamicOptions()),
            graph => WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions { StoreConvolutions = true })])
        {
            var graph = new OnnxGraph(source.Clone());
            var decisions = apply(graph);
            Assert.Equal(source.Graph.Node.Select(node => node.Name), decisions.Select(decision => decision.Node));
            Assert.Equal(products, decisions.Count(decision => decision is { Operator: "MatMul" or "Gemm", Kept: null }));

            var written = folder.File("quantized.onnx");
            OnnxWriter.Write(written, graph.Model);
            OnnxRuntimeSession.Open(written, file, 1, settings => settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL, isDefault: true)
                .Dispose();
            File.Delete(written);
        }
    }
}
