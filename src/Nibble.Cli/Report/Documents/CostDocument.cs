
namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>advise --cost-of --json</c>.</summary>
internal sealed record CostDocument(string Schema, double Flops, double Efficiency, double Bandwidth, string Formula, IReadOnlyList<CostRow> Rows)
{
    public const string CurrentSchema = "nibble.cost/1";

    public static CostDocument Of(CostTable table) =>
        new(CurrentSchema, table.Machine.Flops, table.Machine.Efficiency, table.Machine.Bandwidth, CostTable.Formula, table.Rows);
}
