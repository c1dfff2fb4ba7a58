using System.Globalization;
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Nibble.Benchmarks.OnnxRules;
using Nibble.Onnx.Data;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Proof;
using Nibble.Recipes;

// Compares the files of `nibble quantize --mode static` with files by the rules of ONNX Runtime's Python package: what ONNX Runtime fuses, how large the error
// is, and how fast they are beside the float model, in turns, one thread. Called by benchmarks/onnx.sh.
//
//     OnnxRules NAME MODEL IMAGES PREPROCESSING SAMPLES      prints a JSON document
if (args is not [var name, var path, var images, var preprocessing, var count])
{
    Console.Error.WriteLine("usage: OnnxRules NAME MODEL IMAGES PREPROCESSING SAMPLES");
    return 1;
}

var options = new OnnxQuantizationOptions
{
    Mode = OnnxMode.Static,
    Samples = int.Parse(count, CultureInfo.InvariantCulture),
    TimingLimit = TimeSpan.FromSeconds(5),
};
var temporary = Directory.CreateTempSubdirectory("nibble-rules-");
try
{
    IReadOnlyList<GraphInput> inputs;
    using (var session = OnnxRuntimeSession.Open(path, 1))
    {
        inputs = GraphInputs.Of(session);
    }

    var source = SampleSource.Open([images], inputs, new SampleOptions { Images = ImagePreprocessing.Parse(preprocessing) });
    var samples = source.Samples().Take(options.Samples * 5 / 4);
    var model = PreparedModel.Open(path, temporary.FullName);
    var split = new SampleSplit(samples, options);
    var values = PythonRules.Values(model.Graph());
    var (ranges, _) = RangeCalibration.Run(
        model.Graph(), values, split.Calibration, options with { Ranges = ObserverKind.MinMax }, model, null, CancellationToken.None);

    List<object> files = [];
    foreach (var (rules, isSigned) in (ReadOnlySpan<(string, bool)>)[("S8S8", true), ("U8S8", false)])
    {
        var graph = model.Graph();
        PythonRules.Apply(graph, value => ranges[value], isSigned);
        var file = Path.Combine(model.Folder, $"{rules}.onnx");
        OnnxWriter.Write(file, graph.Model);
        files.Add(Measure(rules, file));
    }

    var output = Path.Combine(model.Folder, "nibble.onnx");
    OnnxQuantizer.Run(path, output, samples, options with { TimingLimit = TimeSpan.Zero });
    files.Add(Measure("nibble", output));
    var format = new JsonSerializerOptions { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };
    Console.WriteLine(JsonSerializer.Serialize(new { model = name, onnxRuntime = OrtEnv.Instance().GetVersionString(), files }, format));

    object Measure(string rules, string file)
    {
        using var single = new StatefulSession(OnnxRuntimeSession.Open(model.Source, model.Path, 1, _ => { }, isDefault: true), options);
        using var result = new StatefulSession(OnnxRuntimeSession.Open(file, file, 1, _ => { }, isDefault: true), options);
        var (differences, compared) = GraphComparison.Run(single, result, single.Outputs, split.HeldOut, CancellationToken.None);
        var timing = PairedTiming.Measure(single, result, split.HeldOut.First(), options.TimingLimit, CancellationToken.None);
        var optimized = Path.Combine(model.Folder, "optimized.onnx");
        using (var settings = new SessionOptions { OptimizedModelFilePath = optimized, LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL })
        {
            settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_EXTENDED;
            using var session = new InferenceSession(file, settings);
        }

        var operators = OnnxModelReader.Read(optimized).Nodes.CountBy(node => node.OpType).OrderBy(pair => pair.Key, StringComparer.Ordinal).ToDictionary();
        return new
        {
            rules,
            integer = operators.Where(pair => pair.Key.StartsWith("QLinear", StringComparison.Ordinal) || pair.Key is "QGemm" or "MatMulIntegerToFloat")
                .Sum(pair => pair.Value),
            conversions = operators.Where(pair => pair.Key is "QuantizeLinear" or "DequantizeLinear").Sum(pair => pair.Value),
            floatProducts = operators.Where(pair => pair.Key is "Conv" or "FusedConv" or "MatMul" or "FusedMatMul" or "Gemm").Sum(pair => pair.Value),
            error = differences.Max(difference => difference.RelativeError),
            compared,
            timing,
            operators,
        };
    }
}
finally
{
    temporary.Delete(recursive: true);
}

return 0;
