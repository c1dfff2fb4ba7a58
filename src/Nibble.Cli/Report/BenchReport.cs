using System.Xml.Linq;
using Nibble.Cli.Rendering;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The report of how fast an exported file is, alone or beside float.</summary>
internal static class BenchReport
{
    /// <summary>The report's HTML.</summary>
    /// <param name="document">What was measured.</param>
    /// <param name="machine">Where.</param>
    /// <param name="commandLine">By which command.</param>
    public static string Render(BenchDocument document, MachineInfo machine, string commandLine)
    {
        var name = document.File.Name;
        var rows = BenchTable.Rows(document);
        string[] headings = document.Against is { } against ? ["", name, against.Name, "compared"] : ["", name];
        return HtmlPage.Render(
            $"{name}: speed, by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "Speed · ", E("bdi", name)),
                    E("h1", Typeset(Headline(document, rows))),
                    E("p", Class("summary"), Typeset($"Measured in {BenchTable.Setting(document)}."))),
                E(
                    "main",
                    E(
                        "section",
                        E("h2", "Results"),
                        E(
                            "div", Class("scroll"), A("tabindex", "0"), A("role", "region"), A("aria-label", "Results"),
                            E(
                                "table", Class("results"),
                                E("thead", E("tr", headings.Select((heading, column) => E("th", A("scope", "col"), column == 0 ? null : Class("number"), heading)))),
                                E("tbody", rows.Select(row => E("tr", row.Select((cell, column) => column == 0 ? E("th", A("scope", "row"), cell) : E("td", Class("number"), Typeset(cell)))))))),
                        E("p", Class("note"), "Peak memory is that of a process that does nothing else; what it holds before loading is the .NET runtime. A prompt is computed at once, what is generated one token after the other.")),
                    E(
                        "section",
                        E("h2", "What was run"),
                        E(
                            "dl", Class("facts"),
                            Fact("Machine", $"{machine.Cpu}, {machine.Cores} cores, {Numbers.Bytes(machine.MemoryBytes)} memory, {machine.Os}")),
                        E("p", "To repeat it:"),
                        E("pre", Class("scroll"), A("tabindex", "0"), E("code", commandLine)))),
            ]);

        static XElement Fact(string name, string value) => E("div", E("dt", name), E("dd", value));
    }

    private static string Headline(BenchDocument document, IReadOnlyList<IReadOnlyList<string>> rows) => document.Speedup is { } speedup
        ? $"Generation: {BenchTable.Verdict(speedup.Generation)}"
        : $"Generation: {rows[^1][1]}";
}
