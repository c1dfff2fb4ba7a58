using Nibble.Cli.Report.Documents;
using System.Xml.Linq;
using Nibble.Planning;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The report on the sensitivity of layers. It contains no times, so that equal studies give equal bytes.</summary>
internal static class SensitivityReport
{
    /// <summary>The report's HTML.</summary>
    public static string Render(SensitivityDocument document)
    {
        var worst = document.Layers.MaxBy(entry => entry.Kl)!;
        return HtmlPage.Render(
            $"{document.Model}: sensitivity of its layers, by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "Sensitivity · ", E("bdi", document.Model)),
                    E("h1", "Most sensitive: ", Breakable(worst.Layer), $" at {worst.Change}"),
                    E("p", Class("summary"), Typeset(
                        $"Layers were quantized one at a time, and the model was compared with the float model on "
                            + $"{document.HeldOut()} of {document.Data}, held out."))),
                E(
                    "main",
                    E("section", E("h2", "Layers"), Map([.. document.Layers.Select(entry => (entry.Layer, entry.Change, entry.Kl))], document.Unit())),
                    document.Correlations.Count == 0 ? null : E(
                        "section",
                        E("h2", "Cheap estimates"),
                        E("p", "Spearman's rank correlation of each estimate with the measured divergence, over all layers at one width."),
                        E("dl", Class("facts"), document.Correlations.Select(item => E(
                            "div", E("dt", item.Change),
                            E("dd", Typeset($"Fisher information {item.Fisher:0.000}, Hessian trace {item.HessianTrace:0.000}"))))))),
            ]);
    }

    /// <summary>The report's HTML for an ONNX file. It contains measured times, so that it differs from run to run.</summary>
    public static string Render(OnnxSensitivityDocument document)
    {
        var worst = document.Nodes.Count > 0 ? document.Nodes[0] : throw new InvalidOperationException("There are no nodes.");
        var name = Path.GetFileName(document.Model);
        return HtmlPage.Render(
            $"{name}: sensitivity of its nodes, by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "Sensitivity · ", E("bdi", name)),
                    E("h1", "Most sensitive: ", worst.Node, $" at {Numbers.RelativeError(worst.Loss)}"),
                    E("p", Class("summary"), Typeset(
                        $"Convolutions and products were quantized to 8 bits one at a time, and the model was compared with the float model: "
                            + $"{document.Measured()}."))),
                E(
                    "main",
                    E(
                        "section",
                        E("h2", "Nodes"),
                        Scrolling(
                            "div", "Nodes",
                            E(
                                "table", Class("results"),
                                E("thead", E(
                                    "tr",
                                    E("th", A("scope", "col"), "node"),
                                    E("th", A("scope", "col"), "operator"),
                                    E("th", A("scope", "col"), Class("number"), "relative error"),
                                    E("th", A("scope", "col"), Class("number"), "time in float"))),
                                E("tbody", document.Nodes.Select(node => E(
                                    "tr",
                                    E("th", A("scope", "row"), node.Node),
                                    E("td", node.Operator),
                                    E("td", Class("number"), Typeset(Numbers.RelativeError(node.Loss))),
                                    E("td", Class("number"), Typeset(node.Milliseconds()))))))),
                        E("p", Class("note"), "The error is the largest relative error of an output, when only this node is quantized. The time is that of "
                            + "the node in the float graph with one thread. Nodes that the engine joins with others have none."))),
            ]);
    }

    /// <summary>The heat map of layers and changes.</summary>
    public static XElement Map(IReadOnlyList<(string Layer, string Change, double Divergence)> layers, LossUnit unit) => HeatMap.Render(
        [.. layers.GroupBy(item => item.Change).Select(group => new HeatColumn(
            "ptq", string.Empty, group.Key, group.ToDictionary(item => item.Layer, item => (double?)item.Divergence)))],
        [.. layers.Select(item => item.Layer).Distinct()],
        $"{unit.Divergence}, when only this layer is quantized",
        Numbers.Divergence,
        logarithmic: true,
        folded: false);
}
