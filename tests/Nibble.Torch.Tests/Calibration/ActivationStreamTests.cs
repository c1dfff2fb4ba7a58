using Nibble.Torch.Calibration;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Calibration;

public sealed class ActivationStreamTests : IDisposable
{
    private const int Windows = 7;
    private const int Length = 400;
    private const int Width = 3;
    private const long Everything = Windows * Length * Width * sizeof(float);

    private static readonly int[] Lengths = [.. Enumerable.Repeat(Length, Windows)];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(Everything, Everything)]
    [InlineData(Everything - 1, Everything)]
    [InlineData(0, 0)]
    public void MemoryAndDiskGiveTheSameValues(long writing, long reading)
    {
        using var scope = NewDisposeScope();
        var values = randn([Windows, Length, Width], generator: new Generator(1));
        var path = folder.File("stream");
        using (var stream = Filled(path, values, writing))
        {
            RequireSame(values, stream);
        }

        using var opened = ActivationStream.TryOpen(path, Lengths, Width, reading);
        RequireSame(values, opened!);
        opened!.Delete();
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }

    [Fact]
    public void FileHasItsNameOnlyOnceItIsWhole()
    {
        using var scope = NewDisposeScope();
        var values = ones(Windows, Length, Width);
        var path = folder.File("stream");
        using (var stream = ActivationStream.Create(path, Lengths, Width, 0))
        {
            stream.Append(values.narrow(0, 0, 3));
            Assert.Contains("3 of 7 pieces", Assert.Throws<InvalidOperationException>(stream.Complete).Message, StringComparison.Ordinal);
        }

        Assert.Null(ActivationStream.TryOpen(path, Lengths, Width, 0));

        // What was left is written over.
        Filled(path, values, 0).Dispose();
        using var opened = ActivationStream.TryOpen(path, Lengths, Width, 0);
        RequireSame(values, opened!);
        Assert.Equal(["stream"], Directory.EnumerateFiles(folder.Path).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(4)]
    [InlineData(-Everything - 16)]
    public void FileThatWasCutShortOrGrewIsRefused(long more)
    {
        var path = Written();
        using (var file = File.OpenWrite(path))
        {
            file.SetLength(file.Length + more);
        }

        Refuses(path, Width, "its checksum does not match its contents");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(Everything - 1)]
    [InlineData(Everything)]
    [InlineData(Everything + 15)]
    public void FileWithAChangedByteIsRefused(long place)
    {
        var path = Written();
        var bytes = File.ReadAllBytes(path);
        bytes[place] ^= 1;
        File.WriteAllBytes(path, bytes);
        Refuses(path, Width, "its checksum does not match its contents");
    }

    [Fact]
    public void FileOfAnotherShapeIsRefused() =>
        Refuses(Written(), Width + 1, $"found {Everything + 16} bytes, expected {(Everything / Width * (Width + 1)) + 16}");

    private string Written()
    {
        using var scope = NewDisposeScope();
        var path = folder.File("stream");
        Filled(path, ones(Windows, Length, Width), 0).Dispose();
        return path;
    }

    private static void Refuses(string path, int width, string fault) => Assert.Equal(
        $"{path} is damaged: {fault}; the work cannot be resumed from it: start over",
        Assert.Throws<Nibble.Files.DamagedFileException>(() => ActivationStream.TryOpen(path, Lengths, width, 0)).Message);

    [Fact]
    public void ForEachStopsBetweenBatches()
    {
        using var scope = NewDisposeScope();
        using var cancellation = new CancellationTokenSource();
        using var stream = Filled(folder.File("stream"), ones(Windows, Length, Width), 0);
        var visits = 0;
        Assert.Throws<OperationCanceledException>(() => stream.ForEach(
            CPU,
            (_, _) =>
            {
                visits++;
                cancellation.Cancel();
            },
            cancellation.Token));
        Assert.Equal(1, visits);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1 << 20)]
    public void PiecesOfDifferentLengthsArePaddedWhereTheyAreRead(long memory)
    {
        using var scope = NewDisposeScope();
        int[] lengths = [2, 3, 3, 1];
        var path = folder.File("texts");
        var values = arange(4 * 3 * Width, dtype: float32).view(4, 3, Width);
        using (var stream = ActivationStream.Create(path, lengths, Width, memory))
        {
            stream.Append(values.narrow(0, 0, 2));
            stream.Append(values.narrow(0, 2, 2));
            stream.Complete();
            Assert.Equal(9, stream.Tokens);
        }

        using var opened = ActivationStream.TryOpen(path, lengths, Width, memory)!;
        var (hidden, mask) = opened.Read([3, 1], CPU);
        Assert.Equal([2, 3, Width], hidden.shape);
        Assert.Equal([true, false, false, true, true, true], mask!.data<bool>().ToArray());
        Bits.Equal(Bits.Of(values[3].narrow(0, 0, 1)), hidden[0].narrow(0, 0, 1));
        Bits.Equal(Bits.Of(values[1]), hidden[1]);
        Assert.Null(opened.Read(1, 2, CPU).Mask);
        var visited = 0L;
        opened.ForEach(CPU, (_, x) => visited += x.Mask is { } real ? real.sum().item<long>() : x.Hidden.shape[0] * x.Hidden.shape[1], CancellationToken.None);
        Assert.Equal(9, visited);
    }

    private static ActivationStream Filled(string path, Tensor values, long memory)
    {
        var stream = ActivationStream.Create(path, Lengths, Width, memory);
        stream.Append(values.narrow(0, 0, 4));
        stream.Append(values.narrow(0, 4, 3));
        stream.Complete();
        return stream;
    }

    private static void RequireSame(Tensor expected, ActivationStream stream)
    {
        Bits.Equal(Bits.Of(expected.narrow(0, 2, 3)), stream.Read(2, 3, CPU).Hidden);
        Assert.Null(stream.Read(2, 3, CPU).Mask);
        var visited = new List<(int First, float[] Values)>();
        stream.ForEach(CPU, (first, x) => visited.Add((first, Bits.Of(x.Hidden))), CancellationToken.None);

        // Two windows of 400 tokens are about a thousand.
        Assert.Equal([0, 2, 4, 6], visited.Select(visit => visit.First));
        Bits.Equal(visited.SelectMany(visit => visit.Values), expected);
    }
}
