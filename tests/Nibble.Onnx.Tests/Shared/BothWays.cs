using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Onnx.Engine;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Onnx.Tests.Shared;

/// <summary>A model in the simulation and, exported, in ONNX Runtime.</summary>
internal sealed class BothWays : IDisposable
{
    private BothWays(LoadedModel simulated, string path)
    {
        Simulated = simulated;
        Path = path;
        Engine = OnnxRuntimeDecoder.Open(path, threads: 1);
    }

    public LoadedModel Simulated { get; }

    public OnnxRuntimeDecoder Engine { get; }

    /// <summary>The exported file.</summary>
    public string Path { get; }

    public static BothWays Open(string model, TemporaryFolder folder, long inlineLimit = 2_000_000_000)
    {
        var path = folder.File("model.onnx");
        Export(model, path, inlineLimit);
        return new BothWays(LoadedModel.Open(model), path);
    }

    /// <summary>Saves a quantized model first.</summary>
    public static BothWays Open(QuantizedModel model, TemporaryFolder folder)
    {
        QuantizedModelFile.Save(model, folder.File("artifact"));
        return Open(folder.File("artifact"), folder);
    }

    public static OnnxExportResult Export(string model, string path, long inlineLimit = 2_000_000_000)
    {
        using var tensors = ModelTensors.Open(model);
        return OnnxExporter.Run(tensors, path, inlineLimit);
    }

    /// <summary>The simulation's logits, [tokens, vocabulary].</summary>
    public float[] Simulate(int[] tokens) => Simulate(Simulated.Decoder, tokens);

    public static float[] Simulate(IDecoder model, int[] tokens)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        return model.Logits(tensor(Array.ConvertAll(tokens, id => (long)id), 1, tokens.Length)).contiguous().data<float>().ToArray();
    }

    /// <summary>The largest difference between logits, of those whose largest is about 1 to 10.</summary>
    public float Difference(int[] tokens) => Difference(Simulate(tokens), Engine.Score(tokens));

    public static float Difference(float[] expected, float[] found)
    {
        Assert.Equal(expected.Length, found.Length);
        return expected.Zip(found, (a, b) => float.IsFinite(b) ? MathF.Abs(a - b) : float.PositiveInfinity).Max();
    }

    public void Dispose()
    {
        Engine.Dispose();
        Simulated.Dispose();
    }
}
