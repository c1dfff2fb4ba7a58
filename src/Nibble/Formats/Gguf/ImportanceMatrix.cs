using System.Runtime.InteropServices;
using Nibble.Files;

namespace Nibble.Formats.Gguf;

/// <summary>Statistics of the inputs of a matrix.</summary>
/// <param name="Squares">The sum of squares of each input. The columns of several matrices follow each other.</param>
/// <param name="Counts">The number of tokens for each matrix. There are several if a tensor holds experts.</param>
public sealed record InputSquares(float[] Squares, float[] Counts);

/// <summary>How important the columns of a model's matrices are: the squares of their inputs, summed over text.</summary>
/// <remarks>
/// Definition: ggml-org/llama.cpp, <c>tools/imatrix/README.md</c> and <c>imatrix.cpp</c>. In the GGUF form each matrix has two tensors, <c>NAME.in_sum2</c>
/// and <c>NAME.counts</c>. Other tensors are ignored. The older form can be read too.
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

    // Columns whose inputs are nearly zero keep a small weight, so that blocks made only of such columns are quantized sensibly.
    private const double LeastWeight = 1e-6;

    /// <summary>Creates an importance matrix.</summary>
    /// <param name="entries">The statistics, by matrix name in GGUF files.</param>
    /// <param name="datasets">The names of the text that it was computed from.</param>
    /// <param name="chunks">The number of text windows used.</param>
    /// <param name="chunkSize">The number of tokens in a window; 0 if unknown.</param>
    public ImportanceMatrix(IReadOnlyDictionary<string, InputSquares> entries, IReadOnlyList<string> datasets, int chunks, int chunkSize)
    {
        (Entries, Datasets, Chunks, ChunkSize) = (entries, datasets, chunks, chunkSize);
    }

    /// <summary>The statistics, by matrix name in GGUF files.</summary>
    public IReadOnlyDictionary<string, InputSquares> Entries { get; }

    /// <summary>The names of the text that it was computed from.</summary>
    public IReadOnlyList<string> Datasets { get; }

    /// <summary>The number of text windows used.</summary>
    public int Chunks { get; }

    /// <summary>The number of tokens in a window; 0 if unknown.</summary>
    public int ChunkSize { get; }

    /// <summary>The file that it was read from; null if it was created in memory.</summary>
    public string? Path { get; private init; }

    /// <summary>Reads a file in either form.</summary>
    /// <exception cref="GgufException">The file violates its format, is of another kind, or contains a number that is negative or not finite.</exception>
    /// <exception cref="NibbleException">The file does not exist.</exception>
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
                throw new GgufException(path, 0, $"the entry of {name} holds {fault}, expected finite numbers of 0 or more; compute the matrix again");
            }
        }

        return new ImportanceMatrix(matrix.Entries, matrix.Datasets, matrix.Chunks, matrix.ChunkSize) { Path = path };
    }

    /// <summary>Writes the GGUF form, with matrices in the order of their names. The file is either complete or absent.</summary>
    /// <param name="path">The file to write, which must not exist.</param>
    /// <exception cref="NibbleException">The file already exists.</exception>
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
    /// <returns>The weights; null if there are no statistics for the matrix.</returns>
    /// <exception cref="NibbleException">The entry belongs to a matrix of another shape.</exception>
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
                + $"columns{(entry.Counts.Length > 1 ? $" of {entry.Counts.Length} experts" : string.Empty)}, but the matrix has {tensor.Columns}; it was made "
                + $"for another model");
        }

        // The number of tokens scales all weights equally, so it cancels out.
        var mean = entry.Squares.Average(value => (double)value);
        return mean > 0 ? Array.ConvertAll(entry.Squares, value => (float)Math.Max(value / mean, LeastWeight)) : null;
    }

    /// <summary>The metadata that a file quantized with it records, as in llama.cpp's quantizer.</summary>
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
                path, squares.Offset, $"the file has {squares.Name} but not {name}{CountsSuffix}, the number of tokens in the sum");
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
            throw new GgufException(path, 0, $"the file is not an importance matrix: no tensor's name ends with {SquaresSuffix}");
        }

        return new ImportanceMatrix(entries, file.Find(DatasetsKey)?.AsTexts() ?? [], Number(file, ChunkCountKey), Number(file, ChunkSizeKey));
    }

    private static string Describe(GgufEntry tensor) => $"{tensor.Type} [{string.Join(", ", tensor.Dimensions)}]";

    private static int Number(GgufFile file, string key) => (int)Math.Clamp(file.Find(key)?.AsInteger() ?? 0, 0, int.MaxValue);
}
