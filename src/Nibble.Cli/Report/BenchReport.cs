using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>The report on the speed of an exported file, on its own or compared with float.</summary>
internal static class BenchReport
{
    /// <summary>The report's HTML.</summary>
    /// <param name="table">The measurements.</param>
    /// <param name="machine">The machine.</param>
    /// <param name="commandLine">The command.</param>
    public static string Render(BenchTable table, MachineInfo machine, string commandLine)
    {
        return HtmlPage.Render(
            $"{table.Name}: speed, by Nibble",
            [
                E(
                    "header",
                    E("p", Class("kicker"), "Speed · ", E("bdi", table.Name)),
                    E("h1", Typeset(table.Headline)),
                    E("p", Class("summary"), Typeset($"Measured in {table.Setting}."))),
                E(
                    "main",
                    E(
                        "section",
                        E("h2", "Results"),
                        Scrolling(
                            "div", "Results",
                            E(
                                "table", Class("results"),
                                E("thead", E("tr", table.Headings.Select((heading, column) =>
                                    E("th", A("scope", "col"), column == 0 ? null : Class("number"), heading)))),
                                E("tbody", table.Rows.Select(row => E("tr", row.Select((cell, column) =>
                                    column == 0 ? E("th", A("scope", "row"), cell) : E("td", Class("number"), Typeset(cell)))))))),
                        E("p", Class("note"), table.Note)),
                    E(
                        "section",
                        E("h2", "What was run"),
                        E(
                            "dl", Class("facts"),
                            Fact("Machine", $"{machine.Cpu}, {machine.Cores} cores, {Numbers.Bytes(machine.MemoryBytes)} memory, {machine.Os}")),
                        E("p", "To repeat it:"),
                        Scrolling("pre", "Command that repeats it", E("code", commandLine)))),
            ]);

        static XElement Fact(string name, string value) => E("div", E("dt", name), E("dd", value));
    }
}
