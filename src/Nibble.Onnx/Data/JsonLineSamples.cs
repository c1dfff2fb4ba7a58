using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Nibble.Files;

namespace Nibble.Onnx.Data;

/// <summary>Samples in a <c>.jsonl</c> file: an object per line, with nested arrays of numbers by the names of inputs.</summary>
internal sealed class JsonLineSamples : IFileSamples
{
    private const int MostAxes = 32;

    private readonly string place;
    private readonly Func<Stream> open;
    private readonly IReadOnlyList<GraphInput> wanted;

    /// <summary>A file from anywhere.</summary>
    /// <param name="place">The file, for messages.</param>
    /// <param name="open">Opens it.</param>
    /// <param name="wanted">The inputs that need data.</param>
    internal JsonLineSamples(string place, Func<Stream> open, IReadOnlyList<GraphInput> wanted) => (this.place, this.open, this.wanted) = (place, open, wanted);

    /// <inheritdoc/>
    public long? Count => null;

    /// <inheritdoc/>
    public string Description => $"the lines of {place}";

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="wanted">The inputs that need data.</param>
    /// <exception cref="NibbleException">It is not a regular file.</exception>
    public static JsonLineSamples Open(string path, IReadOnlyList<GraphInput> wanted)
    {
        InputFile.RequireRegular(path);
        return new JsonLineSamples(path, () => File.OpenRead(path), wanted);
    }

    /// <inheritdoc/>
    public IEnumerable<PlacedSample> Read()
    {
        using var stream = open();
        foreach (var (line, origin) in LineReader.Read(stream, place))
        {
            yield return new PlacedSample(Parse(line, origin), origin);
        }
    }

    private List<NamedOnnxValue> Parse(byte[] line, string origin)
    {
        try
        {
            return ParseObject(line, origin);
        }
        catch (JsonException exception)
        {
            throw new NibbleException($"{origin} is not valid JSON: {exception.Message} Each line is an object with an array of numbers per input", exception);
        }
    }

    private List<NamedOnnxValue> ParseObject(byte[] line, string origin)
    {
        var reader = new Utf8JsonReader(line, new JsonReaderOptions { MaxDepth = MostAxes + 1 });
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
        {
            throw new NibbleException($"{origin}: {reader.TokenType}, expected an object with an array of numbers for each of {GraphInputs.Names(wanted)}");
        }

        var values = new List<NamedOnnxValue>();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var input = GraphInputs.Find(wanted, Name(ref reader, origin), origin);
            reader.Read();
            values.Add(ParseTensor(ref reader, input, origin));
        }

        // Throws if anything follows the object.
        reader.Read();
        return values;
    }

    private static string Name(ref Utf8JsonReader reader, string origin)
    {
        try
        {
            return reader.GetString()!;
        }
        catch (InvalidOperationException exception)
        {
            throw new NibbleException($"{origin}: a name is not valid Unicode", exception);
        }
    }

    private static NamedOnnxValue ParseTensor(ref Utf8JsonReader reader, GraphInput input, string origin)
    {
        var kind = TensorKind.Of(input);
        var (floats, integers) = (new List<double>(), new List<long>());
        var sizes = new List<long>();
        var counts = new List<long>();
        var leaves = -1;
        do
        {
            if (reader.TokenType == JsonTokenType.StartArray)
            {
                counts.Add(0);
                if (counts.Count > sizes.Count)
                {
                    sizes.Add(-1);
                }
            }
            else if (reader.TokenType == JsonTokenType.EndArray)
            {
                var depth = counts.Count - 1;
                if (counts[depth] == 0 || (sizes[depth] >= 0 && sizes[depth] != counts[depth]) || (leaves >= 0 && sizes.Count > leaves))
                {
                    throw new NibbleException($"{origin}: the arrays of input '{input.Name}' differ in length or are empty, expected {input.Text}");
                }

                sizes[depth] = counts[depth];
                counts.RemoveAt(depth);
                CountOne(counts);
            }
            else
            {
                if (leaves >= 0 && leaves != counts.Count)
                {
                    throw new NibbleException($"{origin}: the arrays of input '{input.Name}' differ in depth, expected {input.Text}");
                }

                leaves = counts.Count;
                CountOne(counts);
                if (kind.IsFloat)
                {
                    floats.Add(reader.TokenType == JsonTokenType.Number && reader.TryGetDouble(out var number) ? number : throw Unexpected(ref reader));
                }
                else
                {
                    integers.Add(reader.TokenType is JsonTokenType.True or JsonTokenType.False ? (reader.TokenType == JsonTokenType.True ? 1 : 0)
                        : reader.TokenType == JsonTokenType.Number && reader.TryGetInt64(out var integer) ? integer : throw Unexpected(ref reader));
                }
            }
        }
        while (counts.Count > 0 && reader.Read());
        var shape = input.Fit(sizes, origin);
        return kind.Create(input.Name, shape, kind.IsFloat ? new ReadNumbers([.. floats]) : new ReadNumbers([.. integers]), origin);

        static void CountOne(List<long> counts)
        {
            if (counts.Count > 0)
            {
                counts[^1]++;
            }
        }

        NibbleException Unexpected(ref Utf8JsonReader at) => new($"{origin}: {at.TokenType} at byte {at.TokenStartIndex} in input '{input.Name}', expected "
            + $"{(kind.IsFloat ? "a number" : $"an integer, as the input is {input.Text}")}");
    }
}
