using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Data;
using Nibble.Torch.Tests.Shared;
using static Nibble.Onnx.Tests.Data.DataFiles;

namespace Nibble.Onnx.Tests.Data;

public sealed class SampleSourceTests
{
    [Fact]
    public void ShapesAreFixed()
    {
        var inputs = ShapeFix.Apply([Input("x", null, 3, null, null), Input("y", [null])], [ShapeFix.Parse("x=1x3x8x4")]);

        Assert.Equal([1, 3, 8, 4], inputs[0].Shape);
        Assert.Equal([null], inputs[1].Shape);
    }

    [Theory]
    [InlineData("x", "expected an input and its sizes")]
    [InlineData("x=1xa", "'a' is not a size")]
    [InlineData("x=1x0", "'0' is not a size")]
    [InlineData("y=1x2", "'y' is none of the inputs to give: 'x'")]
    [InlineData("x=1x2x3", "'x' is float [?, 2]")]
    [InlineData("x=1x3", "only free sizes can be fixed")]
    public void AShapeThatDoesNotFitIsRefused(string text, string part) => Assert.Contains(
        part, Assert.Throws<NibbleException>(() => ShapeFix.Apply([Input("x", null, 2)], [ShapeFix.Parse(text)])).Message, StringComparison.Ordinal);

    [Fact]
    public void ConstantsFillTheirInputs()
    {
        var constants = ConstantInputs.Parse(["sr=16000", "x=0.5", "sizes=640,480"], [Integers("sr"), Input("x", null, 2), Integers("sizes", [null])]);

        Assert.Equal([16000L], Longs(constants[0]));
        Assert.Empty(Shape(constants[0]));
        Assert.Equal([0.5f, 0.5f], Floats(constants[1]));
        Assert.Equal([1, 2], Shape(constants[1]));
        Assert.Equal([640L, 480L], Longs(constants[2]));
    }

    [Theory]
    [InlineData("n", "expected an input and its values")]
    [InlineData("n=1.5", "'1.5' is not an integer")]
    [InlineData("x=1,2,3", "3 values for input 'x'")]
    [InlineData("x=one", "'one' is not a number")]
    [InlineData("y=1", "'y' is none of the inputs")]
    public void AConstantThatDoesNotFitIsRefused(string text, string part) => Assert.Contains(
        part, Assert.Throws<NibbleException>(() => ConstantInputs.Parse([text], [Integers("n"), Input("x", 2)])).Message, StringComparison.Ordinal);

    [Fact]
    public void StatesBeginWithZerosAndThenGetTheOutputs()
    {
        var feedback = new StateFeedback([StateFeedback.Parse("h=hn")], [Input("x", 1), Input("h", null, 2)]);
        IReadOnlyList<NamedOnnxValue> sample = [Value("x", [1], 5f)];

        Assert.Equal([0f, 0f], Floats(feedback.Complete(sample)[1]));
        float[] output = [3, 4];
        feedback.Take([NamedOnnxValue.CreateFromTensor("hn", new DenseTensor<float>(output, [1, 2])), Value("y", [1], 1f)]);
        output[0] = 9;
        var next = feedback.Complete(sample)[1];
        Assert.Equal("h", next.Name);
        Assert.Equal([3f, 4f], Floats(next));
        feedback.Reset();
        Assert.Equal([0f, 0f], Floats(feedback.Complete(sample)[1]));
    }

    [Fact]
    public void StatesThatDoNotFitAreRefused()
    {
        var feedback = new StateFeedback([("h", "hn")], [Input("h", 1, 2)]);

        Assert.Contains("no output 'hn'", Refusal(() => feedback.Take([Value("y", [1], 1f)])), StringComparison.Ordinal);
        Assert.Contains("expected float [1, 2]", Refusal(() => feedback.Take([Value("hn", [2], 1f, 2f)])), StringComparison.Ordinal);
        Assert.Contains("'g' is none", Refusal(() => _ = new StateFeedback([("g", "gn")], [Input("h", 1, 2)])), StringComparison.Ordinal);
        Assert.Contains("axis 1 is free", Refusal(() => new StateFeedback([("h", "hn")], [Input("h", 2, null)]).Complete([])), StringComparison.Ordinal);
        Assert.Contains("expected an input and the output", Refusal(() => StateFeedback.Parse("h")), StringComparison.Ordinal);
    }

    [Fact]
    public void RandomValuesAreTheSameForASeedAndFitTheirInputs()
    {
        IReadOnlyList<GraphInput> inputs = [Input("x", null, 50, 50), Integers("attention_mask", 1, 100), Integers("ids", 1, 100)];
        var source = new RandomSource(inputs, 3, 7);
        var samples = source.Samples().ToList();

        Assert.StartsWith("random data", source.Description, StringComparison.Ordinal);
        Assert.Equal(samples.Select(sample => Floats(sample[0])), source.Samples().Select(sample => Floats(sample[0])));
        Assert.NotEqual(Floats(samples[0][0]), Floats(new RandomSource(inputs, 1, 8).Samples().First()[0]));
        Assert.InRange(Floats(samples[0][0]).Average(), -0.1f, 0.1f);
        Assert.InRange(Floats(samples[0][0]).Select(value => value * value).Average(), 0.9f, 1.1f);
        Assert.All(samples, sample => Assert.Equal([0L, 1L], Longs(sample[1]).Distinct().Order()));
        Assert.All(samples, sample => Assert.All(Longs(sample[2]), id => Assert.InRange(id, 0, 9)));
        Assert.Contains(
            "the size of axis 2 is free, and random data do not decide it. Fix the shape, for example x=1x3x16",
            Refusal(() => _ = new RandomSource([Input("x", null, 3, null)], 1, 0)), StringComparison.Ordinal);
    }

    [Fact]
    public void SamplesAreJoinedAlongTheFirstAxis()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<GraphInput> inputs = [Input("x", null, null), Integers("n")];
        var path = folder.Write("a.jsonl", "{\"x\": [1, 2]}\n{\"x\": [3, 4]}\n{\"x\": [5, 6]}\n{\"x\": [7]}\n{\"x\": [8]}\n");
        var source = SampleSource.Open([path], inputs, new SampleOptions { Constants = ConstantInputs.Parse(["n=3"], inputs) });
        var batches = new BatchedSource(source, inputs, 2).Samples().ToList();

        Assert.Equal([[1f, 2f, 3f, 4f], [5f, 6f], [7f, 8f]], batches.Select(batch => Floats(batch[0])));
        Assert.Equal([2, 2], Shape(batches[0][0]));
        Assert.All(batches, batch => Assert.Equal([3L], Longs(batch[1])));
        Assert.Contains("takes no batches of 2", Refusal(() => _ = new BatchedSource(source, [Input("x", 1, 2)], 2)), StringComparison.Ordinal);
    }

    [Fact]
    public void EverySampleIsChecked()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<GraphInput> inputs = [Input("x", null, 2), Input("y", 1)];
        Assert.Contains("nothing is given for input 'y' (float [1])", Missing("{\"x\": [1, 2]}"), StringComparison.Ordinal);
        Assert.Contains("input 'x' is given twice", Missing("{\"x\": [1, 2], \"x\": [1, 2], \"y\": 1}"), StringComparison.Ordinal);
        Assert.Contains("There are no samples in", Missing(""), StringComparison.Ordinal);

        string Missing(string line)
        {
            var path = folder.Write("a.jsonl", line);
            return Refusal(() => SampleSource.Open([path], inputs, new SampleOptions()).Samples().Count());
        }
    }

    [Fact]
    public void PathsWithoutSamplesAreRefused()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<GraphInput> inputs = [Input("x", null, 3, 2, 2)];
        Assert.Contains("has no images", Refusal(() => Open(folder.Path)), StringComparison.Ordinal);
        Assert.Contains("There is no file or folder", Refusal(() => Open(folder.File("nothing"))), StringComparison.Ordinal);
        Assert.Contains("of an unknown kind", Refusal(() => Open(folder.Write("a.mp3", "x"))), StringComparison.Ordinal);
        Assert.Contains("No data is given", Refusal(() => SampleSource.Open([], inputs, new SampleOptions())), StringComparison.Ordinal);
        Assert.Contains("multiple of 3073", Refusal(() => Open(WriteBytes(folder.File("a.bin"), new byte[3072]))), StringComparison.Ordinal);
        Assert.Contains("not valid gzip", Refusal(() => Open(folder.Write("idx3-ubyte.gz", "not gzip, but long enough to have a header"))), StringComparison.Ordinal);

        object Open(string path) => SampleSource.Open([path], inputs, new SampleOptions { Images = ImagePreprocessing.Parse("unit") });
    }

    [Fact]
    public void AFolderOfArraysIsReadInOrder()
    {
        using var folder = new TemporaryFolder();
        WriteBytes(folder.File("2.npy"), Npy("<f4", "(1, 2)", Bytes(3f, 4f)));
        WriteBytes(folder.File("1.npy"), Npy("<f4", "(2,)", Bytes(1f, 2f)));
        var source = SampleSource.Open([folder.Path], [Input("x", null, 2)], new SampleOptions());

        Assert.Equal(2, source.Count);
        Assert.Equal([[1f, 2f], [3f, 4f]], source.Samples().Select(sample => Floats(sample[0])));
    }

    [Fact]
    public void RecordingsHaveTheRateThatTheModelGets()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<GraphInput> inputs = [Input("x", null, 2), Integers("sr")];
        var (first, second) = (WriteBytes(folder.File("a.wav"), Wav(1, 1, 16, [0, 0], 8000)), WriteBytes(folder.File("b.wav"), Wav(1, 1, 16, [0, 0])));

        Assert.Contains("8000 values per second, expected 16000", Refusal(() => Open("sr=16000", first)), StringComparison.Ordinal);
        Assert.Contains("different numbers of values per second", Refusal(() => SampleSource.Open([first, second], [inputs[0]], new SampleOptions())), StringComparison.Ordinal);
        Assert.Single(Open("sr=8000", first).Samples());

        ISampleSource Open(string constant, string path) =>
            SampleSource.Open([path], inputs, new SampleOptions { Constants = ConstantInputs.Parse([constant], inputs) });
    }

    private static NamedOnnxValue Value(string name, int[] shape, params float[] values) => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<float>(values, shape));

    private static string Refusal(Action act) => Assert.Throws<NibbleException>(act).Message;

    private static string Refusal(Func<object> act) => Assert.Throws<NibbleException>(() => _ = act()).Message;
}
