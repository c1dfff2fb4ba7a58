using System.Buffers.Binary;
using System.Diagnostics;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>A detector of speech, with a state and graphs inside of If nodes, hears the same after quantization.</summary>
public sealed class SpeechRealModelTests : IDisposable
{
    private const int Rate = 16_000;

    // A window of 512 values comes with the last 64 of the one before it.
    private const int Step = 512;
    private const int Window = 64 + Step;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void SpeechIsHeardWhereTheFloatModelHearsIt()
    {
        var model = SharedData.Require("onnx/silero_vad_16k_op15.onnx");
        var calibration = Speak("The quick brown fox jumps over the lazy dog, and then, after a while, it does so once more. Is that not strange?");
        var quantized = OnnxQuantizer.Run(
            model,
            folder.File("quantized.onnx"),
            Samples(calibration),
            new OnnxQuantizationOptions
            {
                Mode = OnnxMode.Static,
                MaxLoss = 0.05,
                TimingLimit = TimeSpan.Zero,
                States = [("state", "stateN")],
                Shapes = new Dictionary<string, IReadOnlyList<long>> { ["state"] = [2, 1, 128] },
            },
            cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(
            OnnxModelReader.Read(model).Nodes.Count(node => node.OpType == "If"), OnnxModelReader.Read(quantized.Path).Nodes.Count(node => node.OpType == "If"));

        var heard = Speak("Seven small ships sailed slowly past the harbour. Nobody waved, although the weather was fine.");
        var (expected, found) = (Probabilities(model, heard), Probabilities(quantized.Path, heard));
        Assert.InRange(expected.Max(), 0.9, 1);
        Assert.InRange(expected.Min(), 0, 0.1);
        Assert.InRange(expected.Zip(found).Max(pair => Math.Abs(pair.First - pair.Second)), 0, 0.02);
    }

    /// <summary>The voice of espeak-ng, with silence around it, at 16 kHz.</summary>
    private static float[] Speak(string text)
    {
        Process? process = null;
        try
        {
            process = Process.Start(new ProcessStartInfo("espeak-ng", ["-v", "en", "--stdout", text]) { RedirectStandardOutput = true });
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("needs the program espeak-ng, which this machine does not have");
        }

        using var bytes = new MemoryStream();
        process!.StandardOutput.BaseStream.CopyTo(bytes);
        process.Dispose();
        var wave = bytes.ToArray();
        var rate = BinaryPrimitives.ReadInt32LittleEndian(wave.AsSpan(24));
        var values = new float[(wave.Length - 44) / 2];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = BinaryPrimitives.ReadInt16LittleEndian(wave.AsSpan(44 + (2 * i))) / 32768f;
        }

        var silence = new float[Rate / 2];
        var resampled = new float[(int)((long)values.Length * Rate / rate) - 1];
        for (var i = 0; i < resampled.Length; i++)
        {
            var place = (double)i * rate / Rate;
            var (before, share) = ((int)place, (float)(place - (int)place));
            resampled[i] = (values[before] * (1 - share)) + (values[before + 1] * share);
        }

        return [.. silence, .. resampled, .. silence];
    }

    private static IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Samples(float[] sound)
    {
        for (var start = 0; start + Window <= sound.Length; start += Step)
        {
            yield return
            [
                NamedOnnxValue.CreateFromTensor("input", new DenseTensor<float>(sound.AsMemory(start, Window).ToArray(), [1, Window])),
                NamedOnnxValue.CreateFromTensor("sr", new DenseTensor<long>(new long[] { Rate }, [])),
            ];
        }
    }

    private static List<float> Probabilities(string model, float[] sound)
    {
        using var session = new InferenceSession(model);
        var state = new DenseTensor<float>([2, 1, 128]);
        var probabilities = new List<float>();
        foreach (var sample in Samples(sound))
        {
            using var outputs = session.Run([.. sample, NamedOnnxValue.CreateFromTensor("state", state)]);
            probabilities.Add(outputs.First(output => output.Name == "output").AsEnumerable<float>().First());
            state = (DenseTensor<float>)outputs.First(output => output.Name == "stateN").AsTensor<float>().Clone();
        }

        return probabilities;
    }
}
