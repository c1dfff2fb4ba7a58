using System.Globalization;
using System.Xml.Linq;
using Nibble.Cli.Report.Documents;
using Nibble.Onnx.Quantization.Proof;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The report on a quantized ONNX graph: what it costs, which values suffer, and what became of each node.</summary>
internal static class OnnxQuantizeHtml
{
    /// <summary>The report's HTML.</summary>
    /// <param name="document">The result.</param>
    /// <param name="commandLine">The command.</param>
    public static string Render(OnnxQuantizeDocument document, string commandLine)
    {
        var name = Path.GetFileName(document.Output);
        var integer = document.Nodes.Count(node => node.Kept is null);
        return HtmlPage.Render(
            $"{name}: quantization, by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "Quantized graph · ", E("bdi", name)),
                    E("h1", Typeset($"{OnnxQuantizeText.Name(document.Mode)}, {Numbers.SizeChange(document.SourceBytes, document.Bytes)}"
                        + (document.Timing is { } timing ? $", {OnnxQuantizeText.Speed(timing.Ratio)}" : string.Empty))),
                    E("p", Class("summary"), Typeset(
                        $"{integer} of {document.Nodes.Count} nodes compute with integers. {OnnxQuantizeText.Samples(document)}."))),
                E(
                    "main",
                    E("section", E("h2", "Outputs"), Differences("Outputs", "output", document.Outputs)),
                    document.Trials.Count == 0 ? null : E(
                        "section",
                        E("h2", "Modes that were tried"),
                        Table("Modes", ["mode", "error", "speed", "size"], document.Trials.Select(trial => (string[])
                        [
                            OnnxQuantizeText.Name(trial.Mode) + (trial.Mode == document.Mode ? ", chosen" : string.Empty), Numbers.RelativeError(trial.Loss),
                            OnnxQuantizeText.Speed(trial.Ratio), Numbers.Bytes(trial.Bytes),
                        ]))),
                    document.Transformations.Count == 0 ? null : E(
                        "section",
                        E("h2", "Before calibration"),
                        E("p", "These changes of weights leave the results of the float model as they were."),
                        document.Transformations.Select(done => (XElement[])
                        [
                            E("p", Typeset($"{done.Name}: {OnnxQuantizeText.Groups(done)}.")),
                            Table($"Layers of {done.Name}", ["layers", "result"], [
                                .. done.Groups.Select(group => (string[])[string.Join(", ", group), "changed together"]),
                                .. done.Skipped.Select(layer => (string[])[layer.Node, $"as it was: {layer.Reason}"]),
                            ], isText: true),
                        ])),
                    document.Layers.Count == 0 ? null : E(
                        "section",
                        E("h2", "Quantized values, the worst first"),
                        E("p", "The signal-to-noise ratio of each value that is quantized, with all that is quantized before it."),
                        Differences("Values", "value", document.Layers.OrderBy(layer => layer.Decibels ?? double.PositiveInfinity))),
                    E(
                        "section",
                        E("h2", "Nodes"),
                        Table("Nodes", ["node", "operator", "computed with"], document.Nodes.Select(node => (string[])
                        [
                            node.Node, node.Operator,
                            node.Kept is null ? $"integers{Coarser(node.GuardedChannels, "against saturation")}{Coarser(node.BiasChannels, "for their biases")}"
                            : $"floats: {node.Kept}",
                        ]), isText: true)),
                    E(
                        "section",
                        E("h2", "What was run"),
                        E("p", "To repeat it:"),
                        Scrolling("pre", "Command that repeats it", E("code", commandLine)))),
            ]);
    }

    private static string Coarser(int channels, string why) => channels == 0 ? string.Empty
        : string.Create(CultureInfo.InvariantCulture, $", {channels} channels rounded more coarsely {why}");

    private static XElement Differences(string label, string kind, IEnumerable<OutputDifference> differences) => Table(
        label,
        [kind, "signal to noise", "largest difference", "same largest"],
        differences.Select(difference => (string[])
        [
            difference.Name, OnnxQuantizeText.Decibels(difference), difference.Largest is { } largest ? Numbers.Plain(largest) : Numbers.Missing,
            difference.Agreement is { } share ? Numbers.Share(share) : Numbers.Missing,
        ]));

    private static XElement Table(string label, string[] headings, IEnumerable<string[]> rows, bool isText = false) => Scrolling(
        "div",
        label,
        E(
            "table", Class("results"),
            E("thead", E("tr", headings.Select((heading, column) => E("th", A("scope", "col"), column == 0 || isText ? null : Class("number"), heading)))),
            E("tbody", rows.Select(row => E("tr", row.Select((cell, column) =>
                column == 0 ? E("th", A("scope", "row"), E("bdi", cell)) : E("td", isText ? null : Class("number"), isText ? cell : Typeset(cell))))))));
}
