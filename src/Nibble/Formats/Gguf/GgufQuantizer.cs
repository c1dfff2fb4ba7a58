using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Models.Decoders.Families;

namespace Nibble.Formats.Gguf;

/// <summary>The result of quantizing a file.</summary>
/// <param name="Bytes">The size of the new file in bytes.</param>
/// <param name="SourceBytes">The size of the source file in bytes.</param>
/// <param name="Types">The number of tensors of each type. The type with the most bytes comes first.</param>
/// <param name="Ragged">Names of matrices that are F16 because their rows do not fill whole blocks.</param>
/// <param name="Unweighted">Names of matrices that the importance matrix does not cover; empty without an importance matrix.</param>
/// <param name="Fallbacks">Matrices with a type other than the mixture's, because its blocks do not divide their rows. Includes those of
/// <paramref name="Ragged"/>.</param>
public sealed record GgufQuantization(
    long Bytes, long SourceBytes, IReadOnlyList<(GgufType Type, int Tensors)> Types, IReadOnlyList<string> Ragged,
    IReadOnlyList<string> Unweighted, IReadOnlyList<GgufFallback> Fallbacks)
{
    /// <summary>Names of the tensors that are copied unchanged: vectors, norms and all other tensors that are not weight matrices.</summary>
    public IReadOnlyList<string> Copied { get; init; } = [];

    /// <summary>Names of the matrices that already have the requested type and keep their codes.</summary>
    public IReadOnlyList<string> Unchanged { get; init; } = [];

    /// <summary>Names of the matrices that the importance matrix covers but whose types do not use it; empty without an importance matrix.</summary>
    public IReadOnlyList<string> ImportanceIgnored { get; init; } = [];
}

/// <summary>A group of matrices with a type other than the mixture's.</summary>
/// <param name="Wanted">The mixture's type.</param>
/// <param name="Type">The actual type.</param>
/// <param name="Tensors">The number of matrices.</param>
/// <param name="Example">The name of the first matrix.</param>
/// <param name="Columns">The number of values in its rows.</param>
public sealed record GgufFallback(GgufType Wanted, GgufType Type, int Tensors, string Example, long Columns);

/// <summary>Quantizes the matrices of a GGUF file in the same way as llama.cpp's quantizer.</summary>
/// <remarks>
/// The types follow ggml-org/llama.cpp, <c>src/llama-quant.cpp</c>: norms and vectors do not change, and <see cref="MixtureRules"/> chooses the types of
/// the others. Threads work on pieces of tensors. Each thread reads a piece, quantizes it while it is in the cache, and writes it to its position.
/// </remarks>
public static class GgufQuantizer
{
    private const int PieceValues = 1 << 17;
    private const int CachedValues = 1 << 12;
    private static readonly string[] SplitKeys = ["split.no", "split.count", "split.tensors.count"];

    /// <summary>Quantizes a file.</summary>
    /// <param name="source">A GGUF file with F32, F16 or BF16 tensors.</param>
    /// <param name="path">The file to write, which must not exist.</param>
    /// <param name="mixture">The types of the matrices.</param>
    /// <param name="pure">Whether all matrices get the mixture's main type.</param>
    /// <param name="threads">The number of threads, at least 1.</param>
    /// <param name="importance">The weight of errors in each column; null for equal weights. Ternary types, 8-bit types and MXFP4 do not use it.</param>
    /// <param name="progress">Receives the finished part of the source, in megabytes.</param>
    /// <param name="cancellation">Cancels between pieces of tensors.</param>
    /// <exception cref="NibbleException">
    /// The file is broken, already quantized, of an unsupported architecture, or contains a value that is not finite. The importance matrix belongs to
    /// another model. The file to write exists.
    /// </exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public static GgufQuantization Run(
        string source,
        string path,
        GgufMixture mixture,
        bool pure,
        int threads,
        ImportanceMatrix? importance = null,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(mixture);
        ArgumentNullException.ThrowIfNull(path);
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        using var file = GgufFile.Open(source);
        RequireSupported(file);
        var rules = MixtureRules.Apply(file, mixture, pure, importance is not null);
        var types = rules.Select(rule => rule.Type).ToList();
        for (var i = 0; i < types.Count; i++)
        {
            if (types[i] != file.Tensors[i].Type && !file.Tensors[i].Type.IsFloat())
            {
                throw new NibbleException(
                    $"{source}: tensor {file.Tensors[i].Name} is {file.Tensors[i].Type}, expected F32, F16 or BF16: rounding a second time costs quality; "
                    + $"quantize the original file");
            }
        }

        var layout = GgufLayout.Create(
            Metadata(file, mixture, importance), [.. file.Tensors.Select((tensor, i) => (tensor.Name, types[i], tensor.Dimensions))]);
        var pieces = Pieces(file, layout, importance);
        AtomicFile.WriteAt(path, layout.Length, handle =>
        {
            RandomAccess.Write(handle, layout.Header, 0);
            var share = progress is null ? null : new ShareOfFile(InputFile.Length(source), pieces.Count, progress);
            try
            {
                Parallel.ForEach(InOrder(pieces), new ParallelOptions { MaxDegreeOfParallelism = threads, CancellationToken = cancellation }, piece =>
                {
                    Convert(file, piece, handle);
                    share?.Add();
                });
            }
            catch (AggregateException exception) when (
                exception.InnerExceptions is [var inner, ..] && exception.InnerExceptions.All(fault => fault is NibbleException))
            {
                throw new NibbleException(inner.Message, exception);
            }
        }, replace: false);

        return Describe(file, layout, rules, importance);
    }

    /// <summary>Reports the finished part of a file in megabytes. Several threads can use it at once.</summary>
    private sealed class ShareOfFile(long bytes, int pieces, IProgress<RunProgress> progress)
    {
        private readonly Lock gate = new();
        private readonly long total = (bytes + 999_999) / 1_000_000;
        private long last;
        private int done;

        public void Add()
        {
            lock (gate)
            {
                var megabytes = (long)((double)++done / pieces * total);
                if (megabytes > last)
                {
                    last = megabytes;
                    progress.Report(new RunProgress("quantize", megabytes, total) { Unit = "MB" });
                }
            }
        }
    }

    /// <summary>Summarizes what happened to each tensor.</summary>
    private static GgufQuantization Describe(
        GgufFile file, GgufLayout layout, IReadOnlyList<(GgufType Type, GgufType Wanted)> rules, ImportanceMatrix? importance)
    {
        var counts = layout.Tensors.GroupBy(tensor => tensor.Type).OrderByDescending(group => group.Sum(tensor => tensor.ByteLength))
            .Select(group => (group.Key, group.Count()));
        var matrices = file.Tensors.Zip(rules).Where(tensor => MixtureRules.IsQuantizable(tensor.First)).ToList();
        var others = matrices.Where(matrix => matrix.Second.Type != matrix.Second.Wanted).ToList();
        var fallbacks = others.GroupBy(matrix => (matrix.Second.Wanted, matrix.Second.Type), matrix => matrix.First)
            .Select(group => new GgufFallback(group.Key.Wanted, group.Key.Type, group.Count(), group.First().Name, group.First().Columns));
        var weighted = matrices.ToLookup(
            matrix => matrix.Second.Type != matrix.First.Type && BlockCodecs.For(matrix.Second.Type) is IWeightedCodec, matrix => matrix.First.Name);
        return new GgufQuantization(
            layout.Length,
            InputFile.Length(file.Path),
            [.. counts],
            [.. others.Where(matrix => matrix.Second.Type.BlockSize() == 1).Select(matrix => matrix.First.Name)],
            importance is null ? [] : [.. weighted[true].Where(name => !importance.Entries.ContainsKey(name))],
            [.. fallbacks])
        {
            Copied = [.. file.Tensors.Select(tensor => tensor.Name).Except(matrices.Select(matrix => matrix.First.Name))],
            Unchanged = [.. matrices.Where(matrix => matrix.First.Type == matrix.Second.Type && !matrix.First.Type.IsFloat())
                .Select(matrix => matrix.First.Name)],
            ImportanceIgnored = importance is null ? [] : [.. weighted[false].Where(importance.Entries.ContainsKey)],
        };
    }

    private static void RequireSupported(GgufFile file)
    {
        file.RequireWhole();
        var architecture = file.Find("general.architecture")?.AsText() ?? string.Empty;
        var known = DecoderFamily.Architectures.Contains(architecture);
        if (!known || file.Find($"{architecture}.expert_count")?.AsInteger() is > 0)
        {
            throw new NibbleException(
                $"{file.Path}: the architecture is '{architecture}'{(known ? " with experts" : string.Empty)}, expected a dense "
                + $"model of {string.Join(", ", DecoderFamily.Architectures)}: other architectures keep more tensors in float");
        }
    }

    /// <summary>The source's metadata, with the quantization keys at the end, as in llama.cpp.</summary>
    private static KeyValuePair<string, GgufValue>[] Metadata(GgufFile file, GgufMixture mixture, ImportanceMatrix? importance)
    {
        const string Version = "general.quantization_version";
        KeyValuePair<string, GgufValue>[] added = [
            new(Version, GgufValue.Of(2u)), new(GgufFileType.Key, GgufValue.Of(mixture.FileType)), .. importance?.Provenance() ?? []];
        return [.. file.Metadata.Where(pair => !SplitKeys.Contains(pair.Key) && !added.Any(other => other.Key == pair.Key)), .. added];
    }

    /// <summary>Consecutive values of a tensor that fill whole blocks of both types.</summary>
    private readonly record struct Piece(GgufEntry Source, GgufEntry Target, long Start, int Count, float[]? Weights);

    private static List<Piece> Pieces(GgufFile file, GgufLayout layout, ImportanceMatrix? importance)
    {
        var pieces = new List<Piece>();
        for (var i = 0; i < file.Tensors.Count; i++)
        {
            var (source, target) = (file.Tensors[i], layout.Tensors[i]);
            var count = source.Columns * source.Rows;
            var weights = source.Type == target.Type ? null : importance?.Weights(target);
            for (var start = 0L; start < count; start += PieceValues)
            {
                pieces.Add(new Piece(source, target, start, (int)Math.Min(PieceValues, count - start), weights));
            }
        }

        return pieces;
    }

    // In file order and one at a time, so that both files are read and written from front to back.
    private static OrderablePartitioner<Piece> InOrder(List<Piece> pieces) =>
        Partitioner.Create(pieces.AsEnumerable(), EnumerablePartitionerOptions.NoBuffering);

    private static void Convert(GgufFile file, Piece piece, SafeFileHandle handle)
    {
        var bytes = Bytes(piece.Source.Type, piece.Count);
        var source = ArrayPool<byte>.Shared.Rent(bytes);
        var target = ArrayPool<byte>.Shared.Rent(Bytes(piece.Target.Type, piece.Count));
        try
        {
            var read = source.AsSpan(0, bytes);
            file.ReadBytes(piece.Source, piece.Start / piece.Source.Type.BlockSize() * piece.Source.Type.BlockBytes(), read);
            var offset = piece.Target.Offset + (piece.Start / piece.Target.Type.BlockSize() * piece.Target.Type.BlockBytes());
            if (piece.Source.Type == piece.Target.Type)
            {
                RandomAccess.Write(handle, read, offset);
                return;
            }

            var blocks = target.AsSpan(0, Bytes(piece.Target.Type, piece.Count));
            Quantize(file, piece, read, blocks);
            RandomAccess.Write(handle, blocks, offset);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(source);
            ArrayPool<byte>.Shared.Return(target);
        }
    }

    /// <summary>Widens, checks and quantizes a few values at a time, so that they stay in the nearest cache.</summary>
    private static void Quantize(GgufFile file, Piece piece, ReadOnlySpan<byte> source, Span<byte> blocks)
    {
        Span<float> values = stackalloc float[CachedValues];
        var codec = BlockCodecs.For(piece.Target.Type);
        var weighted = piece.Weights is null ? null : codec as IWeightedCodec;
        Span<float> weights = stackalloc float[weighted is null ? 0 : CachedValues];

        for (var done = 0; done < piece.Count; done += CachedValues)
        {
            var floats = values[..Math.Min(CachedValues, piece.Count - done)];
            var (from, to) = (Bytes(piece.Source.Type, done), Bytes(piece.Target.Type, done));
            Widen(piece.Source.Type, source.Slice(from, Bytes(piece.Source.Type, floats.Length)), floats);
            if (GgufBlocks.FindFault(piece.Target.Type, floats) is >= 0 and var fault)
            {
                throw new GgufException(file.Path, piece.Source.Offset, $"value {piece.Start + done + fault} of tensor {piece.Source.Name} is "
                    + $"{floats[fault]}, expected a finite number of at most {GgufBlocks.LargestOf(piece.Target.Type)} by magnitude; the model is ruined "
                    + "or the file is damaged");
            }

            var part = blocks.Slice(to, Bytes(piece.Target.Type, floats.Length));
            if (weighted is null)
            {
                codec.Quantize(floats, part);
            }
            else
            {
                Repeat(piece.Weights, piece.Start + done, weights[..floats.Length]);
                weighted.Quantize(floats, weights[..floats.Length], part);
            }
        }
    }

    /// <summary>The weights of consecutive values. They repeat with each row.</summary>
    private static void Repeat(ReadOnlySpan<float> columns, long start, Span<float> weights)
    {
        for (var column = (int)(start % columns.Length); !weights.IsEmpty; column = 0)
        {
            var count = Math.Min(columns.Length - column, weights.Length);
            columns.Slice(column, count).CopyTo(weights);
            weights = weights[count..];
        }
    }

    private static int Bytes(GgufType type, int count) => count / type.BlockSize() * type.BlockBytes();

    private static void Widen(GgufType type, ReadOnlySpan<byte> source, Span<float> values)
    {
        var done = type == GgufType.F16 && Avx2Blocks.IsSupported ? Avx2Blocks.Widen(MemoryMarshal.Cast<byte, ushort>(source), values) : 0;
        BlockCodecs.For(type).Dequantize(source[(done * type.BlockBytes())..], values[done..]);
    }
}
