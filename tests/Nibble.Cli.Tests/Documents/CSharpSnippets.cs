using Nibble.Torch.Data;
using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Microsoft.Extensions.Logging;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Serving;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The C# of docs/reference/csharp.md, block by block.</summary>
internal static class CSharpSnippets
{
    public static QuantizedTensor Matrix(float[] weights, int rows, int columns, float[] inputs)
    {
        // block begins
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(32));
        var nearest = Quantize.Matrix(weights, rows, columns, scheme);
        var better = Quantize.Matrix(weights, rows, columns, scheme, new MatrixOptions { Algorithm = WeightRounding.Gptq, Inputs = inputs });
        float[] values = better.Dequantize();
        // block ends

        Assert.Equal(weights.Length, values.Length);
        Assert.NotEqual(nearest.Codes, better.Codes);
        return better;
    }

    public static ModelComparison Model(string folder, string textFile, string output, IProgress<RunProgress> progress, ILogger logger, CancellationToken cancellation)
    {
        // block begins
        var recipe = RecipePresets.Parse("w4a16-g32-gptq");
        var options = new PtqOptions { DataFiles = [textFile], Logger = logger };
        var estimate = Quantize.EstimatePtq(folder, recipe, options, cancellation);
        var result = Quantize.Ptq(folder, recipe, output, options, progress, cancellation);

        var trained = recipe with { Qat = recipe.Qat with { Steps = 3, BatchSize = 2 } };
        Quantize.Qat(folder, trained, output + "-trained", new QatOptions { DataFiles = [textFile], Logger = logger }, progress, cancellation);

        var compared = Quantize.Compare(folder, output, textFile, new CompareOptions { Logger = logger }, progress, cancellation);
        GgufExporter.Run(output, output + ".gguf", type: null, cancellation: cancellation);
        // block ends

        Assert.Equal(estimate.Bytes, result.Bytes);
        return compared;
    }

    public static ModelComparison InMemory(string folder, string textFile, string output)
    {
        // block begins
        using var model = LoadedModel.Open(folder);
        var data = ModelTasks.Of(model.Definition).Read(textFile, model, new ReadOptions());
        var quantized = Quantize.Ptq(model, RecipePresets.Parse("w4a16-g32"), new PtqOptions { Data = data });
        var compared = Quantize.Compare(model, quantized, data);
        QuantizedModelFile.Save(quantized, output);
        // block ends

        return compared;
    }

    public static QuantizedModel Module(TorchSharp.Modules.Sequential network, TorchSharp.Modules.Sequential same, Tensor images, Tensor labels)
    {
        // block begins
        var recipe = RecipePresets.Parse("w4a8-static");
        recipe = recipe with { Qat = recipe.Qat with { Steps = 20 } };
        var trained = Quantize.Qat(network, recipe, batch => nn.functional.cross_entropy(network.forward(images), labels));
        QuantizationAware.Load(same, trained);
        // block ends

        return trained;
    }

    public static (float Similarity, string Label, IReadOnlyList<float> Probabilities) Exported(
        string encoderFile, string classifierFile, string[] texts, ILogger logger, CancellationToken cancellation)
    {
        // block begins
        using var encoder = SentenceEncoder.Open(encoderFile, new EncoderOptions { MaxLength = 256, Logger = logger });
        float[][] embeddings = encoder.Encode(texts, cancellation);
        var similarity = TensorPrimitives.CosineSimilarity<float>(embeddings[0], embeddings[1]);

        using var classifier = TextClassifier.Open(classifierFile);
        var (label, probability, probabilities) = classifier.Classify(texts[0]);
        // block ends

        Assert.Contains(probability, probabilities);
        return (similarity, label, probabilities);
    }

    public static (OnnxQuantizationResult Result, float[] Scores) Onnx(
        string modelFile, string output, IReadOnlyList<float[]> images, int size, ILogger logger, IProgress<RunProgress> progress, CancellationToken cancellation)
    {
        // block begins
        var samples = images.Select(pixels => new[] { NamedOnnxValue.CreateFromTensor("images", new DenseTensor<float>(pixels, [1, 3, size, size])) });
        var options = new OnnxQuantizationOptions { MaxLoss = 0.1, Logger = logger };
        var result = OnnxQuantizer.Run(modelFile, output, samples, options, progress, cancellation);
        Console.WriteLine($"{result.Mode}, {result.Timing?.Ratio:F2} times faster, largest error {result.Outputs.Max(value => value.RelativeError):P1}");
        // block ends

        // block begins
        using var session = new InferenceSession(result.Path);
        using var outputs = session.Run(samples.First());
        var scores = outputs[0].AsEnumerable<float>().ToArray();
        // block ends

        return (result, scores);
    }
}
