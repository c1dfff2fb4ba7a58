using System.Runtime.InteropServices;
using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>What was seen of the inputs of a matrix.</summary>
/// <param name="Squares">The sum of each input's squares, columns of one matrix after the other.</param>
/// <param name="Counts">Tokens seen by each matrix: one, or several where experts stand in one tensor.</param>
public sealed record InputSquares(float[] Squares, float[] Counts);

/// <summary>How much the columns of a model's matrices matter: the squares of the inputs that meet them, summed over a text.</summary>
/// <remarks>
/// Definition: ggml-org/llama.cpp, <c>tools/imatrix/README.md</c> and <c>imatrix.cpp</c>. In the GGUF form a matrix has two tensors, <c>NAME.in_sum2</c> and
/// <c>NAME.counts</c>;
/// other tensors are passed over. The older form is read too.
/// </remarks>
public sealed class ImportanceMatrix
{
    private const string FileType = "imatrix";
    private const string TypeKey = "general.type";
    private const string DatasetsKey = "imatrix.datasets";
    private const string ChunkCountKey = "imatrix.chunk_count";
    private const string ChunkSizeKey = "imatrix.chunk_size";
    private const string SquaresSuffix = ".in_sum2";
    private const string CountsSuffix = ".counts";

    // Columns whose inputs were all but zero still count a little, so that blocks of nothing else are quantized sensibly too.
    private const double LeastWeight = 1e-6;

    /// <summary>Holds an importance matrix.</summary>
    /// <param name="entries">By the name of the matrix in GGUF files.</param>
    /// <param name="datasets">The texts it was made from.</param>
    /// <param name="chunks">Windows of text that were looked at.</param>
    /// <param name="chunkSize">Tokens of a window; 0 where it is not known.</param>
    public ImportanceMatrix(IReadOnlyDictionary<string, InputSquares> entries, IReadOnlyList<string> datasets, int chunks, int chunkSize)
    {
        (Entries, Datasets, Chunks, ChunkSize) = (entries, datasets, chunks, chunkSize);
    }

    /// <summary>What was seen, by the name of the matrix in GGUF files.</summary>
    public IReadOnlyDictionary<string, InputSquares> Entries { get; }

    /// <summary>The texts it was made from.</summary>
    public IReadOnlyList<string> Datasets { get; }

    /// <summary>Windows of text that were looked at.</summary>
    public int Chunks { get; }

    /// <summary>Tokens of a window; 0 where it is not known.</summary>
    public int ChunkSize { get; }

    /// <summary>The file it was read from; null where it was made in memory.</summary>
    public string? Path { get; private init; }

    /// <summary>Reads a file of either form.</summary>
    /// <exception cref="GgufException">The file breaks its format, is of another kind, or holds a number that is negative or not finite.</exception>
    /// <exception cref="NibbleException">There is no such file.</exception>
    public static ImportanceMatrix Read(string path)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException($"There is no file {path}.");
        }

        InputFile.RequireRegular(path);
        var matrix = IsGguf(path) ? ReadGguf(path) : LegacyImportanceFile.Read(path);
        foreach (var (name, entry) in matrix.Entries)
        {
            if (entry.Squares.Concat(entry.Counts).Where(value => !float.IsFinite(value) || value < 0).Select(value => (float?)value)
                .FirstOrDefault() is { } fault)
            {
                throw new GgufException(path, 0, $"the entry of {name} holds {fault}, expected finite numbers of 0 or more; make the importance matrix anew");
            }
        }

        return new ImportanceMatrix(matrix.Entries, matrix.Datasets, matrix.Chunks, matrix.ChunkSize) { Path = path };
    }

    /// <summary>Writes the GGUF form, whole or not at all; matrices in the order of their names.</summary>
    /// <param name="path">The file to write, which must not exist.</param>
    /// <exception cref="NibbleException">The file exists.</exception>
    public void Write(string path)
    {
        KeyValuePair<string, GgufValue>[] metadata =
        [
            new(TypeKey, GgufValue.Of(FileType)),
            new(DatasetsKey, GgufValue.Of(Datasets)),
            new(ChunkCountKey, GgufValue.Of((uint)Chunks)),
            new(ChunkSizeKey, GgufValue.Of((uint)ChunkSize)),
        ];
        var tensors = new List<GgufTensor>();
        foreach (var (name, entry) in Entries.OrderBy(entry => entry.Key, StringComparer.Ordinal))
        {
            tensors.Add(Tensor(name + SquaresSuffix, entry.Squares, [entry.Squares.Length / entry.Counts.Length, entry.Counts.Length]));
            tensors.Add(Tensor(name + CountsSuffix, entry.Counts, [1, entry.Counts.Length]));
        }

        GgufWriter.Write(path, metadata, tensors, replace: false);
    }

    /// <summary>The weight of each column of a matrix, 1 on average.</summary>
    /// <returns>Null where nothing is known of the matrix.</returns>
    /// <exception cref="NibbleException">The entry is of a matrix of another shape.</exception>
    internal float[]? Weights(GgufEntry tensor)
    {
        if (!Entries.TryGetValue(tensor.Name, out var entry))
        {
            return null;
        }

        if (entry.Counts.Length != 1 || entry.Squares.Length != tensor.Columns)
        {
            throw new NibbleException(
                $"{Path ?? "the importance matrix"}: the entry of {tensor.Name} has {entry.Squares.Length} "
                + $"columns{(entry.Counts.Length > 1 ? $" of {entry.Counts.Length} experts" : string.Empty)}, the matrix has {tensor.Columns}; it was made for "
                + $"another model");
        }

        // The number of tokens divides all alike, and so falls out.
        var mean = entry.Squares.Average(value => (double)value);
        return mean > 0 ? Array.ConvertAll(entry.Squares, value => (float)Math.Max(value / mean, LeastWeight)) : null;
    }

    /// <summary>What a file that was quantized with it says of it, as llama.cpp's quantizer does.</summary>
    internal IEnumerable<KeyValuePair<string, GgufValue>> Provenance()
    {
        if (Path is not null)
        {
            yield return new("quantize.imatrix.file", GgufValue.Of(Path));
        }

        if (Datasets.Count > 0)
        {
            yield return new("quantize.imatrix.dataset", GgufValue.Of(Datasets[0]));
        }

        yield return new("quantize.imatrix.entries_count", GgufValue.Of((uint)Entries.Count));
        yield return new("quantize.imatrix.chunks_count", GgufValue.Of((uint)Chunks));
    }

    private static GgufTensor Tensor(string name, float[] values, long[] dimensions) =>
        new(name, GgufType.F32, dimensions, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));

    private static bool IsGguf(string path)
    {
        using var stream = File.OpenRead(path);
        Span<byte> magic = stackalloc byte[4];
        return stream.ReadAtLeast(magic, magic.Length, throwOnEndOfStream: false) == magic.Length && magic.SequenceEqual("GGUF"u8);
    }

    private static ImportanceMatrix ReadGguf(string path)
    {
        using var file = GgufFile.Open(path);
        var entries = new Dictionary<string, InputSquares>(StringComparer.Ordinal);
        foreach (var squares in file.Tensors.Where(tensor => tensor.Name.EndsWith(SquaresSuffix, StringComparison.Ordinal)))
        {
            var name = squares.Name[..^SquaresSuffix.Length];
            var counts = file.FindTensor(name + CountsSuffix) ?? throw new GgufException(
                path, squares.Offset, $"there is {squares.Name}, but not {name}{CountsSuffix}, which tells over how many tokens it was summed");
            if (squares.Type != GgufType.F32 || counts.Type != GgufType.F32 || counts.Columns != 1 || counts.Rows != squares.Rows)
            {
                throw new GgufException(
                    path, counts.Offset, $"{squares.Name} is {Describe(squares)} and {counts.Name} {Describe(counts)}, expected F32 [columns, matrices] and "
                    + $"F32 [1, matrices]");
            }

            entries.Add(name, new InputSquares(file.ReadFloats(squares), file.ReadFloats(counts)));
        }

        if (entries.Count == 0)
        {
            throw new GgufException(path, 0, $"the file holds no importance matrix: no tensor's name ends with {SquaresSuffix}");
        }

        return new ImportanceMatrix(entries, file.Find(DatasetsKey)?.AsTexts() ?? [], Number(file, ChunkCountKey), Number(file, ChunkSizeKey));
    }

    private static string Describe(GgufEntry tensor) => $"{tensor.Type} [{string.Join(", ", tensor.Dimensions)}]";

    private static int Number(GgufFile file, string key) => (int)Math.Clamp(file.Find(key)?.AsInteger() ?? 0, 0, int.MaxValue);
}
