using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;

namespace Nibble.Tests.Files;

public sealed class FiniteValuesTests : IDisposable
{
    private static readonly ElementType[] Types = [ElementType.F32, ElementType.F16, ElementType.BF16];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void TheFirstFaultIsFoundInEveryTypeWhereverItStands() =>
        Gen.Select(Gen.Int[0, Types.Length - 1].Select(i => Types[i]), Gen.Float.Array[0, 70]).Sample((type, values) =>
        {
            var stored = Array.ConvertAll(values, value => type.Round(value));
            Assert.Equal(Array.FindIndex(stored, value => !float.IsFinite(value)), FiniteValues.IndexOfFault(type, type.ToBytes(values)));
        });

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.NegativeInfinity)]
    public void CheckpointsAreRefusedByTensorAndPlace(float value)
    {
        foreach (var type in Types)
        {
            var path = folder.File(type.ToString());
            var values = Enumerable.Range(0, 60).Select(i => i == 47 ? value : i).ToArray();
            Checkpoint.Save(path, "{}", [SafetensorsTensor.FromFloats("some.norm", type, [3, 20], values),
                new SafetensorsTensor("ids", ElementType.I64, [1], stream => stream.Write(new byte[8]))], string.Empty);
            using var checkpoint = Checkpoint.Open(path);
            var expected = FormattableString.Invariant($"{path}: tensor 'some.norm' holds {value} at [2, 7], expected finite values; ");
            Refuses(expected, () => checkpoint.ReadFloats("some.norm"));
            Refuses(expected, () => checkpoint.ReadFloats("some.norm", 40, new float[10]));
            Refuses(expected, () => checkpoint.CopyTo("some.norm", Stream.Null));
            Refuses(expected, () => checkpoint.RequireFinite("some.norm"));

            // What is not read is not judged, and integers have no such values.
            checkpoint.ReadFloats("some.norm", 0, new float[47]);
            checkpoint.RequireFinite("ids");
            checkpoint.CopyTo("ids", Stream.Null);
        }
    }

    private static void Refuses(string expected, Action read) =>
        Assert.StartsWith(expected, Assert.Throws<NibbleException>(read).Message, StringComparison.Ordinal);
}
