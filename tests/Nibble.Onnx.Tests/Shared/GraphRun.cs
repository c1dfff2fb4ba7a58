using System.Runtime.InteropServices;
using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Shared;

/// <summary>What a model gives for random inputs, computed by ONNX Runtime as the graph says, without optimization.</summary>
internal sealed record GraphRun(IReadOnlyDictionary<string, GraphRun.Output> Outputs)
{
    /// <summary>An output.</summary>
    internal sealed record Output(TensorElementType Type, long[] Shape, byte[] Bytes)
    {
        public float[] Floats => Type switch
        {
            TensorElementType.Float => MemoryMarshal.Cast<byte, float>(Bytes).ToArray(),
            TensorElementType.Float16 => Array.ConvertAll(MemoryMarshal.Cast<byte, Half>(Bytes).ToArray(), value => (float)value),
            _ => throw new ArgumentException($"The output has the type {Type}.", nameof(Type)),
        };
    }

    /// <summary>Runs a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="seed">Chooses the inputs.</param>
    public static GraphRun Of(ModelProto model, int seed)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.File("model.onnx"), model.ToByteArray());
        return Of(folder.File("model.onnx"), seed);
    }

    /// <summary>Runs a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="seed">Chooses the inputs.</param>
    /// <param name="freeSizes">The sizes that the model leaves to the caller, in the order of its inputs. Those that are not given are 1.</param>
    public static GraphRun Of(string path, int seed, params int[] freeSizes)
    {
        using var session = OnnxRuntimeSession.Open(path, path, 1, settings => settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_DISABLE_ALL);
        var random = new Random(seed);
        var free = new Queue<int>(freeSizes);
        var inputs = session.InputNames.ToDictionary(name => name, name =>
        {
            var (type, sizes) = (session.InputMetadata[name].ElementDataType, session.InputMetadata[name].Dimensions);
            long[] shape = [.. sizes.Select(size => size >= 0 ? size : free.TryDequeue(out var given) ? given : 1L)];
            var count = (int)shape.Aggregate(1L, (product, size) => product * size);
            float[] values = [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() * 4) - 2)];
            return type switch
            {
                TensorElementType.Float => OrtValue.CreateTensorValueFromMemory(values, shape),
                TensorElementType.Float16 => OrtValue.CreateTensorValueFromMemory(
                    Array.ConvertAll(values, value => new Float16(BitConverter.HalfToUInt16Bits((Half)value))), shape),
                TensorElementType.Double => OrtValue.CreateTensorValueFromMemory(Array.ConvertAll(values, value => (double)value), shape),
                TensorElementType.Int64 => OrtValue.CreateTensorValueFromMemory(Array.ConvertAll(values, _ => 16000L), shape),
                TensorElementType.Bool => OrtValue.CreateTensorValueFromMemory(Array.ConvertAll(values, value => value > 0), shape),
                _ => throw new ArgumentException($"The input {name} has the type {type}.", nameof(path)),
            };
        });
        using var run = new RunOptions();
        using var results = session.Run(run, inputs, session.OutputNames);
        var outputs = session.OutputNames.Zip(results).ToDictionary(item => item.First, item =>
        {
            var info = item.Second.GetTensorTypeAndShape();
            return new Output(info.ElementDataType, info.Shape, item.Second.GetTensorMutableRawData().ToArray());
        });
        foreach (var input in inputs.Values)
        {
            input.Dispose();
        }

        return new GraphRun(outputs);
    }

    /// <summary>Requires the same outputs, of the same bits.</summary>
    public void RequireSame(GraphRun found, string what) => RequireClose(found, 0, what);

    /// <summary>Requires the same outputs, with values that differ at most by a tolerance.</summary>
    public void RequireClose(GraphRun found, float tolerance, string what)
    {
        Assert.Equal(Outputs.Keys, found.Outputs.Keys);
        foreach (var (name, expected) in Outputs)
        {
            var output = found.Outputs[name];
            Assert.Equal(expected.Type, output.Type);
            Assert.True(
                expected.Shape.SequenceEqual(output.Shape),
                $"{what}: {name} is [{string.Join(',', output.Shape)}], expected [{string.Join(',', expected.Shape)}]");
            if (!expected.Bytes.AsSpan().SequenceEqual(output.Bytes))
            {
                Assert.True(tolerance > 0, $"{what}: {name} has other bits");
                Assert.All(expected.Floats.Zip(output.Floats), pair => Assert.True(
                    MathF.Abs(pair.First - pair.Second) <= tolerance * Math.Max(1, MathF.Abs(pair.First)), $"{what}: {pair.Second}, expected {pair.First}"));
            }
        }
    }
}
