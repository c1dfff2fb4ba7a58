using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Report;

/// <summary>Writes what <c>verify</c> found about ties between codes.</summary>
internal static class TieReport
{
    /// <summary>Writes one line, and a note if the engine's codes cannot be trusted. Writes nothing without ties.</summary>
    public static void Write(TextWriter output, TieDifference? ties)
    {
        if (ties is null)
        {
            return;
        }

        var first = ties.FirstMismatch is { } layer ? $" (first in the input of {layer})" : string.Empty;
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"ties        {ties.Ties} of {ties.Codes} input codes are rounded the other way in the engine, at most {ties.Farthest:G2} of a step from the tie "
                + $"({EngineDecisions.Tolerance} allowed); with ties decided as in the engine, {ties.Mismatches} codes differ{first}, and logits differ by "
                + $"{ties.LargestDifference:G3}"));
        if (!ties.SameLogits)
        {
            output.WriteLine("note: the file's logits change when it also outputs its codes, so ties cannot be decided as in the engine");
        }
    }
}
