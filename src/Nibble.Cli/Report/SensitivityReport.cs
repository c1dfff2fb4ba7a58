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
