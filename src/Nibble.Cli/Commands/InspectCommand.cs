using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.CommandLine;
using System.Globalization;
using Nibble.Artifacts;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Export;
using Nibble.Numerics;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble inspect</c>: shows a model's layers and its size at each bit width.</summary>
internal static class InspectCommand
{
    private const double OutlierDeviations = 6;
    private const int GroupSize = 32;
    private const int PartValues = 1 << 20;
    private const string Head = "lm_head";
    private static readonly int[] Widths = [8, 4, 3, 2];

    public static Command Create(CommandHost host)
    {
        var model = new Argument<string>("MODEL_OR_FILE")
        { Description = "A Hugging Face model folder, an artifact folder written by ptq, qat or compare, or a GGUF or ONNX file." };
        var json = CommonOptions.Json();
        var command = new Command(
            "inspect", "Show a model's layers, weight ranges, outliers and size at each bit width, or the contents of an exported file.") { model, json };
        command.SetAction(parsed =>
        {
            if (ExportedFile.Find(parsed.GetValue(model)!) is { } file)
            {
                var contents = FileInspection.Read(file);
                if (parsed.GetValue(json))
                {
                    host.WriteJson(contents, CliJson.Default.InspectFileDocument);
                }
                else
                {
                    FileInspection.Render(host.Console, contents);
                }

                return ExitCode.Done;
            }

            CommandHost.StartTorch(threads: null);
            using var inspected = Open(parsed.GetValue(model)!);
            var document = Inspect(inspected);
            if (parsed.GetValue(json))
            {
                host.WriteJson(document, CliJson.Default.InspectDocument);
            }
            else
            {
                Render(host.Console, document);
            }

            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>Opens a model, with or without a head.</summary>
    private static StoredModel Open(string folder)
    {
        try
        {
            return StoredModel.Open(folder);
        }
        catch (MissingHeadException)
        {
            return StoredModel.Open(folder, new TaskConfig(ModelTask.Embedding));
        }
    }

    private static InspectDocument Inspect(StoredModel model)
    {
        var (layers, linearBytes) = (new List<InspectedLayer>(), 0L);
        foreach (var layer in model.Definition.QuantizableLayers.Where(layer => layer.HasInput))
        {
            var (described, bytes) = Describe(model, layer);
            layers.Add(described);
            linearBytes += layer.Name == Head ? 0 : bytes;
        }

        // Norms, biases and tables have no row in the table, but a broken value in them is an error all the same.
        var rows = layers.Select(layer => layer.Name + ".weight").ToHashSet(StringComparer.Ordinal);
        foreach (var tensor in model.Definition.Tensors.Where(tensor => !rows.Contains(tensor.Name)))
        {
            model.RequireFinite(tensor);
        }

        var linears = layers.Sum(layer => (long)layer.Rows * layer.Columns);
        var sizes = Widths.ToDictionary(
            bits => $"w{bits}a16-g{GroupSize}",
            bits => model.Bytes - linearBytes + layers.Where(layer => layer.Name != Head).Sum(layer => QuantizedBytes(layer, bits)));
        return new InspectDocument(
            InspectDocument.CurrentSchema, model.Name, model.Definition.ModelType, model.Definition.Tensors.Sum(tensor => tensor.Count), linears,
            model.Bytes, layers, sizes);
    }

    private static long QuantizedBytes(InspectedLayer layer, int bits) =>
        QuantizedTensor.CountStoredBytes(
            layer.Rows, layer.Columns,
            new QuantizationScheme(bits, symmetric: false, Granularity.Group(GroupSize)) { ScalePrecision = ScalePrecision.Float16 });

    /// <summary>Describes a layer, float or quantized, and counts its bytes on disk.</summary>
    private static (InspectedLayer Layer, long Bytes) Describe(StoredModel model, ModelLayer layer)
    {
        if (model.Layer(layer.Name) is { } quantized)
        {
            var values = quantized.Weight.Dequantize();
            var described = Describe(layer, (start, part) => values.AsSpan((int)start, part.Length).CopyTo(part));
            return (AsQuantized(described, quantized, model.Method), quantized.Weight.StoredBytes);
        }

        var tensor = layer.Name + ".weight";
        return (Describe(layer, (start, part) => model.Read(tensor, start, part)), (long)layer.Rows * layer.Columns * model.StoredAs(tensor).ByteSize());
    }

    private static InspectedLayer Describe(ModelLayer layer, TensorReader read)
    {
        double sum = 0, squares = 0;
        var (min, max) = (float.PositiveInfinity, float.NegativeInfinity);
        ForEach(part =>
        {
            foreach (var value in part)
            {
                sum += value;
                squares += (double)value * value;
                (min, max) = (Math.Min(min, value), Math.Max(max, value));
            }
        });
        var count = (long)layer.Rows * layer.Columns;
        var mean = sum / count;
        var deviation = Math.Sqrt(Math.Max(0, (squares / count) - (mean * mean)));
        var outliers = 0L;
        ForEach(part =>
        {
            foreach (var value in part)
            {
                outliers += Math.Abs(value - mean) > OutlierDeviations * deviation ? 1 : 0;
            }
        });
        var largest = deviation > 0 ? Math.Max(Math.Abs(min - mean), Math.Abs(max - mean)) / deviation : 0;
        return new InspectedLayer(layer.Name, layer.Rows, layer.Columns, min, max, deviation, largest, (double)outliers / count);

        // A layer can be larger than everything else of the command, so it is never in memory as a whole.
        void ForEach(Action<ReadOnlySpan<float>> visit)
        {
            var all = (long)layer.Rows * layer.Columns;
            var values = new float[Math.Min(all, PartValues)];
            for (var start = 0L; start < all; start += values.Length)
            {
                var part = values.AsSpan(0, (int)Math.Min(values.Length, all - start));
                read(start, part);
                visit(part);
            }
        }
    }

    /// <summary>Adds a quantized layer's schemes and the method that produced its codes.</summary>
    private static InspectedLayer AsQuantized(InspectedLayer layer, QuantizedLayer quantized, string? method) => layer with
    {
        Weights = quantized.Weight.Scheme.ToString(),
        WeightMethod = quantized.WeightMethod?.Word() ?? method,
        Input = quantized.Input?.Scheme.ToString(),
        InputMethod = quantized.Input?.Static is null ? null : quantized.InputMethod?.Word() ?? method,
    };

    /// <summary>A cell for weights or inputs: the code format and the method that produced the codes.</summary>
    private static string Side(string? scheme, string? method) => scheme is null ? "float" : $"{scheme.Split(' ')[0]} {method}".TrimEnd();

    private static void Render(IAnsiConsole console, InspectDocument document)
    {
        var table = new Table().Border(TableBorder.Simple)
            .AddColumn("layer").AddColumn(new TableColumn("shape").RightAligned()).AddColumn(new TableColumn("min").RightAligned())
            .AddColumn(new TableColumn("max").RightAligned()).AddColumn(new TableColumn("deviation").RightAligned())
            .AddColumn(new TableColumn("largest").RightAligned()).AddColumn(new TableColumn("outliers").RightAligned());
        var artifact = document.Layers.Any(layer => layer.Weights is not null);
        if (artifact)
        {
            table.AddColumn(new TableColumn("weights").NoWrap()).AddColumn(new TableColumn("inputs").NoWrap());
        }

        foreach (var layer in document.Layers)
        {
            List<string> cells =
            [
                Markup.Escape(layer.Name),
                $"{layer.Rows} x {layer.Columns}",
                layer.Min.ToString("F4", CultureInfo.InvariantCulture),
                layer.Max.ToString("F4", CultureInfo.InvariantCulture),
                layer.Deviation.ToString("F4", CultureInfo.InvariantCulture),
                string.Create(CultureInfo.InvariantCulture, $"{layer.LargestInDeviations:F1} sd"),
                layer.OutlierShare.ToString("P3", CultureInfo.InvariantCulture),
            ];
            if (artifact)
            {
                cells.Add(Side(layer.Weights, layer.WeightMethod));
                cells.Add(Side(layer.Input, layer.InputMethod));
            }

            table.AddRow([.. cells]);
        }

        console.WriteTable(table);
        console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{document.Model} ({document.Type}): {document.Parameters:N0} parameters, {document.LinearParameters:N0} in linear layers; {document.Bytes:N0} "
            + $"bytes"));
        console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"largest: the value farthest from the mean, in standard deviations (sd); outliers: share of values beyond {OutlierDeviations} sd"));
        foreach (var (recipe, bytes) in document.SizeByWidth)
        {
            console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{recipe,-9} {bytes,14:N0} bytes, {Numbers.Smaller(bytes, document.Bytes)}"));
        }
    }
}
