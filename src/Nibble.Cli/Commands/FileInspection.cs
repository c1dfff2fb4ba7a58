using Nibble.Cli.Report.Documents;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Formats.Gguf;
using Nibble.Onnx;
using Nibble.Onnx.Quantization;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary>Shows the contents of an exported file.</summary>
internal static class FileInspection
{
    private const int LongestText = 80;

    /// <summary>Reads a file's header.</summary>
    /// <exception cref="NibbleException">The file breaks its format.</exception>
    public static InspectFileDocument Read(ExportedFile file) => file.Engine == LlamaCppEngine.EngineName ? ReadGguf(file) : ReadOnnx(file);

    /// <summary>Writes it as tables.</summary>
    public static void Render(IAnsiConsole console, InspectFileDocument document)
    {
        Table(console, ["metadata", "value"], document.Metadata.Select(entry => (string[])[entry.Key, entry.Value]));
        Table(console, ["operator", "nodes"], document.Operators.Select(entry => (string[])[entry.Key, entry.Value.ToString(CultureInfo.InvariantCulture)]));
        Table(
            console,
            ["tensor", "type", "shape", "bytes"],
            document.Tensors.Select(
                tensor => (string[])[tensor.Name, tensor.Type, string.Join(" x ", tensor.Shape),
                tensor.Bytes?.ToString("N0", CultureInfo.InvariantCulture) ?? string.Empty]));
        foreach (var (title, values) in ((string, IReadOnlyList<string>)[])[("input", document.Inputs), ("output", document.Outputs)])
        {
            foreach (var value in values)
            {
                console.WriteLine($"{title}: {TerminalText.Printable(value)}");
            }
        }

        if (document.Quantization is { } quantized)
        {
            console.WriteLine(TerminalText.Printable(string.Create(
                CultureInfo.InvariantCulture,
                $"quantized: {quantized.How}; {quantized.Values:N0} weights are integers and take {quantized.Bytes:N0} bytes")));
        }

        var types = string.Join(", ", document.Types.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Value} {entry.Key}")));
        console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{document.File} ({document.Format}): {document.Values:N0} values in {document.Tensors.Count} tensors ({types}), {document.Bytes:N0} bytes"));
    }

    private static InspectFileDocument ReadGguf(ExportedFile file)
    {
        using var gguf = GgufFile.Open(file.Path);
        return Document(
            file,
            "GGUF",
            gguf.Metadata.Select(entry => KeyValuePair.Create(entry.Key, Text(entry.Value))),
            gguf.Tensors.Select(tensor => new InspectedTensor(tensor.Name, tensor.Type.ToString(), [.. tensor.Dimensions.Reverse()], tensor.ByteLength)),
            [],
            [],
            []);
    }

    private static InspectFileDocument ReadOnnx(ExportedFile file)
    {
        var onnx = OnnxFile.Open(file.Path);
        var sets = string.Join(", ", onnx.OperatorSets.Select(set => string.Create(CultureInfo.InvariantCulture, $"{set.Key} {set.Value}")));
        return Document(
            file,
            string.Create(CultureInfo.InvariantCulture,
                $"ONNX, IR version {onnx.IrVersion}, operators {sets}, by {(onnx.Producer.Length > 0 ? onnx.Producer : "an unknown producer")}"),
            onnx.Metadata,
            onnx.Tensors.Select(tensor => new InspectedTensor(tensor.Name, tensor.Type, tensor.Shape, tensor.Bytes)),
            onnx.Operators,
            [.. onnx.Inputs.Select(Text)],
            [.. onnx.Outputs.Select(Text)]) with
        {
            Quantization = QuantizedContents.Of(onnx) is { } found ? new InspectedQuantization(found.How, found.Values, found.Bytes) : null,
        };
    }

    private static InspectFileDocument Document(
        ExportedFile file, string format, IEnumerable<KeyValuePair<string, string>> metadata, IEnumerable<InspectedTensor> tensors,
        IEnumerable<KeyValuePair<string, int>> operators, IReadOnlyList<string> inputs, IReadOnlyList<string> outputs)
    {
        var all = tensors.ToList();
        var types = all.GroupBy(tensor => tensor.Type).OrderByDescending(group => group.Sum(tensor => tensor.Bytes ?? 0))
            .Select(group => KeyValuePair.Create(group.Key, group.Count()));

        // ONNX allows several entries with the same key: the last one counts.
        var texts = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in metadata)
        {
            texts[key] = value;
        }

        return new InspectFileDocument(
            InspectFileDocument.CurrentSchema, file.Path, format, file.Bytes, all.Sum(tensor => tensor.Shape.Aggregate(1L, (product, size) => product * size)),
            texts, new(types), new(operators), inputs, outputs, all);
    }

    private static string Text(GgufValue value) =>
        value.AsText() is { } text ? text.Length > LongestText ? text[..LongestText] + " ..." : text
        : value.AsInteger()?.ToString(CultureInfo.InvariantCulture) ?? value.AsNumber()?.ToString("R", CultureInfo.InvariantCulture)
        ?? value.AsBool()?.ToString().ToLowerInvariant()
            ?? (value.AsTexts() is { } texts ? $"{texts.Count} strings" : value.AsFloats() is { } floats ? $"{floats.Length} numbers"
            : value.AsIntegers() is { } integers ? $"{integers.Length} numbers" : value.Type.ToString());

    private static string Text(OnnxValue value) => $"{value.Name} {value.Type} [{string.Join(", ", value.Shape.Select(size => size.Length > 0 ? size : "?"))}]";

    private static void Table(IAnsiConsole console, string[] headings, IEnumerable<string[]> rows)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumns([.. headings.Select(heading => new TableColumn(heading))]);
        foreach (var row in rows)
        {
            table.AddRow([.. row.Select(cell => Markup.Escape(TerminalText.Printable(cell)))]);
        }

        if (table.Rows.Count > 0)
        {
            console.WriteTable(table);
        }
    }
}
