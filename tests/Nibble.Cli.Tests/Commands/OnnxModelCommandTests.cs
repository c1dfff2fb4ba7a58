using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Nibble.Onnx.Graphs;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>verify</c>, <c>bench</c>, <c>sensitivity</c> and <c>inspect</c> of an ONNX file of any model.</summary>
[Collection(OneAtATime.Name)]
public sealed class OnnxModelCommandTests : IDisposable
{
    private static readonly string[] Few = ["--data", "random", "--samples", "6"];

    private readonly TemporaryFolder folder = new();

    // Processors with VNNI add products of bytes in 32 bits. Leaf 7 of CPUID: AVX-512 VNNI is bit 11 of ECX, AVX-VNNI is bit 4 of EAX of its subleaf 1.
    private static bool Saturates => Avx2.IsSupported
        && (X86Base.CpuId(7, 0).Ecx >> 11 & 1) == 0 && (X86Base.CpuId(7, 0).Eax < 1 || (X86Base.CpuId(7, 1).Eax >> 4 & 1) == 0);

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task AQuantizedFileIsComparedWithItsFloatFile()
    {
        var (single, quantized) = await Convolutions();
        string[] line = ["verify", quantized, "--against", single, .. Few];
        var run = await CommandRun.Succeeds([.. line, "--json"]);

        Assert.Equal("nibble.verify-onnx/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(("same", 6), (run.Json.GetProperty("verdict").GetString(), run.Json.GetProperty("samples").GetInt32()));
        Assert.False(run.Json.GetProperty("saturates").GetBoolean());
        var output = Assert.Single(run.Json.GetProperty("outputs").EnumerateArray());
        Assert.Equal("y", output.GetProperty("name").GetString());
        Assert.InRange(output.GetProperty("decibels").GetDouble(), 15, 80);
        Assert.Equal(0, Assert.Single(run.Json.GetProperty("saturation").EnumerateArray()).GetProperty("largest").GetDouble());

        var strict = await CommandRun.Of([.. line, "--tolerance", "0.001"]);
        Assert.Equal(ExitCode.NoSolution, strict.ExitCode);
        Assert.EndsWith("verdict     differs", strict.Output.TrimEnd(), StringComparison.Ordinal);
        Assert.Contains("% allowed", strict.Output, StringComparison.Ordinal);
        Assert.Contains("on 6 samples of random data", strict.Output, StringComparison.Ordinal);
        var lenient = await CommandRun.Succeeds([.. line, "--tolerance", "50"]);
        Assert.Contains("saturation  none on this processor", lenient.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AFileWhoseSumsSaturateDiffersWhereTheProcessorSaturates()
    {
        var single = Product("float.onnx", "x");
        await CommandRun.Succeeds(
            ["quantize", single, .. Few, "--mode", "static", "--target", "x64-vnni", "-o", folder.File("int8.onnx")]);
        var run = await CommandRun.Of(["verify", folder.File("int8.onnx"), "--against", single, .. Few]);

        Assert.Equal(Saturates ? ExitCode.NoSolution : ExitCode.Done, run.ExitCode);
        Assert.Contains(
            Saturates ? "other processors give other answers" : "none on this processor", run.Output, StringComparison.Ordinal);
        Assert.EndsWith(Saturates ? "differs" : "same", run.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task StatesBeginWithZerosInEachRunOfBothFiles()
    {
        var builder = new GraphBuilder();
        var state = builder.Node("Mul", [builder.Input("h", OnnxType.Float32, 1, 8), builder.Float(0.5f)]);
        var product = builder.Node("MatMul", [builder.Input("x", OnnxType.Float32, 1, 64), Constant(builder, "w", 64, 8)]);
        builder.Output(builder.Node("Add", [product, state]), "next", OnnxType.Float32, 1, 8);
        OnnxWriter.Write(folder.File("float.onnx"), builder.Build("g", []), builder.Initializers);
        string[] data = ["--data", "random", "--samples", "20", "--feedback", "h=next"];
        var quantized = await CommandRun.Succeeds(
            ["quantize", folder.File("float.onnx"), .. data, "--mode", "static", "-o", folder.File("int8.onnx"), "--json"]);
        var verified = await CommandRun.Succeeds(["verify", folder.File("int8.onnx"), "--against", folder.File("float.onnx"), .. data, "--json"]);

        // A state that one side kept from another run would be most of the output.
        Assert.All([quantized, verified], run =>
            Assert.InRange(Assert.Single(run.Json.GetProperty("outputs").EnumerateArray()).GetProperty("decibels").GetDouble(), 20, 80));
    }

    [Fact]
    public async Task FilesOfDifferentModelsAreNotCompared()
    {
        var (single, quantized) = await Convolutions();
        var other = Product("other.onnx", "z");
        await Refuses(ExitCode.BadInput, "has no input 'z', which ", ["verify", quantized, "--against", other, .. Few]);
        await Refuses(ExitCode.BadInput, "has no input 'z', which ", ["bench", quantized, "--against", other, "--threads", "1"]);
        Assert.True(File.Exists(single));
    }

    [Fact]
    public async Task OptionsForTheOtherKindOfFileAreRefused()
    {
        var (single, quantized) = await Convolutions();
        await Refuses(ExitCode.Usage, "give --against with the float ONNX file", ["verify", quantized, "--data", "text"]);
        await Refuses(
            ExitCode.Usage, "--context is for a comparison with the simulation, but --against is given",
            ["verify", quantized, "--against", single, .. Few, "--context", "8"]);
        await Refuses(ExitCode.Usage, "--against compares two ONNX files", ["verify", folder.Path, "--against", single, .. Few]);
        await Refuses(
            ExitCode.Usage, "--preprocess is for two ONNX files, and --against is not given", ["verify", quantized, "--data", "text", "--preprocess", "unit"]);
        await Refuses(ExitCode.Usage, "name it with --against", ["bench", quantized]);
        await Refuses(ExitCode.Usage, "--prompt-tokens has no effect here", ["bench", quantized, "--against", single, "--prompt-tokens", "8"]);
        await Refuses(ExitCode.Usage, "--bits is for model folders, but MODEL is an ONNX file", ["sensitivity", single, .. Few, "--bits", "4"]);
        await Refuses(ExitCode.Usage, "--samples is for ONNX files, but MODEL is no ONNX file", ["sensitivity", folder.Path, .. Few]);
    }

    [Fact]
    public async Task TheSpeedIsThatOfPairedRuns()
    {
        var (single, quantized) = await Convolutions();
        var run = await CommandRun.Succeeds("bench", quantized, "--against", single, "--threads", "1", "--report", folder.File("bench.html"), "--json");

        Assert.Equal("nibble.bench-onnx/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal("random data, 1 sample", run.Json.GetProperty("data").GetString());
        Assert.Equal(new FileInfo(quantized).Length, run.Json.GetProperty("file").GetProperty("bytes").GetInt64());
        var timing = Assert.Single(run.Json.GetProperty("timings").EnumerateArray());
        double Number(string name) => timing.GetProperty(name).GetDouble();
        Assert.Equal(1, Number("threads"));
        Assert.Equal(Number("speedup"), Number("againstSeconds") / Number("seconds"), 1e-9);
        var report = await File.ReadAllTextAsync(folder.File("bench.html"), TestContext.Current.CancellationToken);
        Assert.Contains("One run, 1 thread: ", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SensitivityMeasuresEachNodeAloneAndReports()
    {
        var (single, _) = await Convolutions();
        string[] line = ["sensitivity", single, "--data", "random", "--samples", "12"];
        var run = await CommandRun.Succeeds([.. line, "--json", "-o", folder.File("study")]);

        Assert.Equal("nibble.sensitivity-onnx/1", run.Json.GetProperty("schema").GetString());
        var losses = run.Json.GetProperty("nodes").EnumerateArray().Select(node => node.GetProperty("loss").GetDouble()).ToList();
        Assert.Equal(2, losses.Count);
        Assert.All(losses, loss => Assert.InRange(loss, 1e-6, 0.2));
        Assert.True(losses[0] >= losses[1]);
        Assert.True(run.Json.GetProperty("isHeldOut").GetBoolean());
        var report = folder.File("study/report.html");
        var written = await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken);
        Assert.Contains("Most sensitive: ", written, StringComparison.Ordinal);
        File.Delete(report);
        await CommandRun.Succeeds("report", folder.File("study"));
        Assert.Equal(written, await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken));

        var text = (await CommandRun.Succeeds(line)).Output;
        Assert.Contains("relative error", text, StringComparison.Ordinal);
        Assert.Contains("measured on 2 others", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectSaysHowAFileIsQuantized()
    {
        var (single, quantized) = await Convolutions();
        Assert.Equal(System.Text.Json.JsonValueKind.Null, (await CommandRun.Succeeds("inspect", single, "--json")).Json.GetProperty("quantization").ValueKind);
        var found = (await CommandRun.Succeeds("inspect", quantized, "--json")).Json.GetProperty("quantization");

        // The weights of two convolutions, without their biases, scales and zero points.
        const int Weights = (8 * 3 * 9) + (4 * 8 * 9);
        Assert.Equal((Weights, Weights), (found.GetProperty("values").GetInt32(), found.GetProperty("bytes").GetInt32()));
        Assert.StartsWith("static, ", found.GetProperty("how").GetString(), StringComparison.Ordinal);
        Assert.Contains(
            $"; {Weights} weights are integers and take {Weights} bytes", (await CommandRun.Succeeds("inspect", quantized)).Output, StringComparison.Ordinal);

        await CommandRun.Succeeds(
            ["quantize", Product("product.onnx", "x"), .. Few, "--mode", "weights", "--bits", "4", "-o", folder.File("int4.onnx")]);
        var packed = (await CommandRun.Succeeds("inspect", folder.File("int4.onnx"), "--json")).Json.GetProperty("quantization");
        Assert.Equal((512, 256), (packed.GetProperty("values").GetInt32(), packed.GetProperty("bytes").GetInt32()));
    }

    [Fact]
    public async Task ARealNetworkIsComparedAndStudiedOnItsImages()
    {
        var model = SharedData.Require("resnet20-cifar10/resnet20.onnx");
        string[] data = ["--data", SharedData.Require("resnet20-cifar10/cifar10-test-first100.bin"), "--preprocess", "imagenet"];
        await CommandRun.Succeeds(["quantize", model, .. data, "--mode", "static", "-o", folder.File("int8.onnx")]);
        var run = await CommandRun.Succeeds(["verify", folder.File("int8.onnx"), "--against", model, .. data, "--samples", "40", "--json"]);

        Assert.InRange(Assert.Single(run.Json.GetProperty("outputs").EnumerateArray()).GetProperty("agreement").GetDouble(), 0.9, 1);
        var study = (await CommandRun.Succeeds(["sensitivity", model, .. data, "--samples", "8", "--json"])).Json.GetProperty("nodes");
        Assert.Equal(20, study.GetArrayLength());
        Assert.All(study.EnumerateArray(), node => Assert.InRange(node.GetProperty("loss").GetDouble(), 0, 0.3));
        Assert.Contains(study.EnumerateArray(), node => node.GetProperty("seconds").ValueKind == System.Text.Json.JsonValueKind.Number);
    }

    private static async Task Refuses(int exitCode, string reason, string[] line)
    {
        var run = await CommandRun.Of(line);
        Assert.Equal(exitCode, run.ExitCode);
        Assert.Contains(reason, run.Error, StringComparison.Ordinal);
    }

    /// <summary>Two convolutions, float and quantized.</summary>
    private async Task<(string Single, string Quantized)> Convolutions()
    {
        var single = Write(
            "float.onnx",
            builder =>
            {
                var first = builder.Node(
                    "Conv", [builder.Input("x", OnnxType.Float32, "batch", 3, 8, 8), Constant(builder, "first", 8, 3, 3, 3)],
                    ("pads", new long[] { 1, 1, 1, 1 }));
                return builder.Node("Conv", [builder.Node("Relu", [first]), Constant(builder, "second", 4, 8, 3, 3)]);
            },
            4, 6, 6);
        await CommandRun.Succeeds(["quantize", single, "--data", "random", "--samples", "10", "--mode", "static", "-o", folder.File("int8.onnx")]);
        return (single, folder.File("int8.onnx"));
    }

    /// <summary>A product by a matrix of 64 x 8.</summary>
    private string Product(string name, string input) => Write(
        name, builder => builder.Node("MatMul", [builder.Input(input, OnnxType.Float32, "batch", 64), Constant(builder, "w", 64, 8)]), 8);

    private string Write(string name, Func<GraphBuilder, string> build, params object[] shape)
    {
        var builder = new GraphBuilder();
        builder.Output(build(builder), "y", OnnxType.Float32, ["batch", .. shape]);
        OnnxWriter.Write(folder.File(name), builder.Build("g", []), builder.Initializers);
        return folder.File(name);
    }

    /// <summary>Weights of equal signs, whose products add up in pairs.</summary>
    private static string Constant(GraphBuilder builder, string name, params long[] shape)
    {
        var random = new Random(shape.Length);
        var values = Enumerable.Range(0, (int)shape.Aggregate(1L, (product, size) => product * size))
            .Select(_ => shape.Length == 2 ? 1 - (random.NextSingle() / 100) : random.NextSingle() - 0.5f).ToArray();
        return builder.Initializer(name, OnnxType.Float32, shape, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
    }
}
