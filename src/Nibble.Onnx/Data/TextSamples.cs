using System.Text;
using Microsoft.ML.OnnxRuntime;
using Nibble.Files;
using Nibble.Formats.HuggingFace;

namespace Nibble.Onnx.Data;

/// <summary>Texts for an encoder: the lines of a <c>.txt</c> file, or the first columns of a <c>.tsv</c> file. Lines without text are not samples.</summary>
internal sealed class TextSamples : IFileSamples
{
    private const int MostTokens = 1 << 20;

    private readonly string path;
    private readonly IReadOnlyList<GraphInput> wanted;
    private readonly SequenceEncoder encoder;
    private readonly int padding;
    private readonly int? length;
    private readonly int maxTokens;
    private readonly int columns;
    private readonly bool isTable;

    private TextSamples(string path, IReadOnlyList<GraphInput> wanted, SampleOptions options)
    {
        (this.path, this.wanted) = (path, wanted);
        isTable = path.EndsWith(".tsv", StringComparison.OrdinalIgnoreCase);
        columns = isTable ? options.TextColumns : 1;
        foreach (var input in wanted)
        {
            if (RoleOf(input) == Role.None || input.Shape is not [null or 1, _] || TensorKind.Of(input).IsFloat)
            {
                throw new NibbleException($"{path}: texts give input_ids, attention_mask and token_type_ids as integers [texts, tokens], and the model has "
                    + $"input '{input.Name}', {input.Text}. Give its values in a .jsonl or .npz file, or as a constant");
            }
        }

        if (!wanted.Any(input => RoleOf(input) == Role.Ids))
        {
            throw new NibbleException($"{path}: texts give input_ids, and no input that needs data has this name: {GraphInputs.Names(wanted)}");
        }

        length = FixedLength();
        maxTokens = length ?? options.MaxTokens;
        var folder = options.TokenizerFolder
            ?? throw new NibbleException($"{path}: texts need the tokenizer of the model: name the folder with its files, such as vocab.txt or tokenizer.json");
        var tokenizer = TextTokenizer.Load(folder);
        if ((tokenizer.StartId ?? tokenizer.BosId) is null || (tokenizer.EndId ?? tokenizer.EosId) is null)
        {
            throw new NibbleException($"{folder}: the tokenizer defines no tokens for the start and the end of a sequence, which an encoder needs. Give token "
                + "ids in a .jsonl or .npz file");
        }

        encoder = new SequenceEncoder(tokenizer, maxTokens);
        padding = tokenizer.Content.Added.FirstOrDefault(token => token.Text is "[PAD]" or "<pad>")?.Id ?? 0;
    }

    private enum Role
    {
        None,
        Ids,
        Mask,
        Types,
    }

    /// <inheritdoc/>
    public long? Count => null;

    /// <inheritdoc/>
    public string Description => $"the texts of {path}{(columns > 1 ? " in pairs" : "")}, cut to at most {maxTokens} tokens";

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="wanted">The inputs that need data.</param>
    /// <param name="options">The tokenizer, and how texts are cut.</param>
    /// <exception cref="NibbleException">The inputs are not those of an encoder, or the tokenizer is missing or broken.</exception>
    public static TextSamples Open(string path, IReadOnlyList<GraphInput> wanted, SampleOptions options)
    {
        const int leastTokens = 3;
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxTokens, leastTokens, nameof(options.MaxTokens));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.MaxTokens, MostTokens, nameof(options.MaxTokens));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.TextColumns, 1, nameof(options.TextColumns));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.TextColumns, 2, nameof(options.TextColumns));
        InputFile.RequireRegular(path);
        return new TextSamples(path, wanted, options);
    }

    /// <inheritdoc/>
    public IEnumerable<PlacedSample> Read()
    {
        using var stream = File.OpenRead(path);
        foreach (var (bytes, origin) in LineReader.Read(stream, path))
        {
            var line = Encoding.UTF8.GetString(bytes);
            if (!string.IsNullOrWhiteSpace(line))
            {
                yield return new PlacedSample(Encode(line, origin), origin);
            }
        }
    }

    private static Role RoleOf(GraphInput input) => input.Name switch
    {
        "input_ids" => Role.Ids,
        "attention_mask" or "input_mask" => Role.Mask,
        "token_type_ids" or "segment_ids" => Role.Types,
        _ => Role.None,
    };

    /// <summary>The number of tokens that all inputs have. Null if it is free.</summary>
    private int? FixedLength()
    {
        var lengths = wanted.Select(input => input.Shape[1]).OfType<long>().Distinct().ToList();
        return lengths switch
        {
            [] => null,
            [>= 3 and <= MostTokens and var only] => (int)only,
            _ => throw new NibbleException($"{path}: the inputs take {string.Join(" and ", lengths)} tokens, expected one number from 3 to {MostTokens}"),
        };
    }

    private List<NamedOnnxValue> Encode(string line, string origin)
    {
        var texts = isTable ? line.Split('\t') : [line];
        if (texts.Length < columns || texts.Take(columns).Any(string.IsNullOrWhiteSpace))
        {
            throw new NibbleException($"{origin}: a column without text, expected {(columns == 1 ? "a text" : $"{columns} texts")} before the other columns");
        }

        var encoded = encoder.Encode(texts[0], columns > 1 ? texts[1] : null);
        var count = length ?? encoded.Ids.Length;
        return [.. wanted.Select(input => TensorKind.Of(input).Create(input.Name, [1, count], new ReadNumbers(RoleOf(input) switch
        {
            Role.Ids => Fill(i => encoded.Ids[i], padding),
            Role.Mask => Fill(_ => 1, 0),
            _ => Fill(i => i < encoded.FirstLength ? 0 : 1, 0),
        }), origin))];

        long[] Fill(Func<int, long> value, long rest) =>
            [.. Enumerable.Range(0, count).Select(i => i < encoded.Ids.Length ? value(i) : rest)];
    }
}
