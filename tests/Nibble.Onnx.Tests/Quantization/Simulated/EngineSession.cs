using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>A model in ONNX Runtime, for comparison with <see cref="QdqSimulation"/>.</summary>
internal sealed class EngineSession : IDisposable
{
    private readonly InferenceSession session;

    private EngineSession(InferenceSession session) => this.session = session;

    /// <summary>Every QuantizeLinear and DequantizeLinear is computed as it stands, and its codes are outputs too.</summary>
    public static EngineSession Literal(ModelProto model) =>
        Open(WithCodes(model), options => options.GraphOptimizationLevel = GraphOptimizationLevel.ORT_DISABLE_ALL);

    /// <summary>A session without settings: integer kernels.</summary>
    public static EngineSession Default(ModelProto model) => Open(model, _ => { });

    /// <summary>A session without settings, of which the codes are outputs too.</summary>
    public static EngineSession DefaultWithCodes(ModelProto model) => Open(WithCodes(model), _ => { });

    /// <summary>Integer kernels whose sums never saturate.</summary>
    public static EngineSession Exact(ModelProto model) => Open(model, options => options.AddSessionConfigEntry("session.x64quantprecision", "1"));

    /// <summary>Computes all outputs.</summary>
    public IReadOnlyDictionary<string, SimulatedTensor> Run(IReadOnlyList<NamedOnnxValue> sample)
    {
        using var results = session.Run(sample);
        return results.ToDictionary(result => result.Name, Convert, StringComparer.Ordinal);
    }

    public void Dispose() => session.Dispose();

    /// <summary>A value that goes into a session or comes from one.</summary>
    public static SimulatedTensor Convert(NamedOnnxValue value) => value.Value switch
    {
        DenseTensor<float> floats => new SimulatedTensor(floats.Dimensions.ToArray(), Array.ConvertAll(floats.Buffer.ToArray(), number => (double)number)),
        DenseTensor<byte> codes => new SimulatedTensor(codes.Dimensions.ToArray(), Array.ConvertAll(codes.Buffer.ToArray(), number => (double)number)),
        DenseTensor<long> integers => new SimulatedTensor(integers.Dimensions.ToArray(), Array.ConvertAll(integers.Buffer.ToArray(), number => (double)number)),
        _ => throw new ArgumentException($"The value {value.Name} is {value.Value.GetType()}.", nameof(value)),
    };

    private static EngineSession Open(ModelProto model, Action<SessionOptions> settings)
    {
        using var options = new SessionOptions { IntraOpNumThreads = 1, LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL };
        settings(options);
        return new EngineSession(new InferenceSession(model.ToByteArray(), options));
    }

    private static ModelProto WithCodes(ModelProto model)
    {
        var probed = model.Clone();
        probed.Graph.Output.AddRange(
            model.Graph.Node.Where(node => node.OpType == "QuantizeLinear").Select(node => new TensorType(OnnxType.UInt8, null).Describe(node.Output[0])));
        return probed;
    }
}
