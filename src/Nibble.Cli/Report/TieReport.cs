using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Report;

/// <summary>Says in words what <c>verify</c> found about ties between codes.</summary>
internal static class TieReport
{
    /// <summary>Writes one line, and another where the engine's own codes cannot be trusted; nothing where there is nothing to say.</summary>
    public static void Write(TextWriter output, TieDifference? ties)
    {
        if (ties is null)
        {
            return;
        }

        var first = ties.FirstMismatch is { } layer ? $" (first in the input of {layer})" : string.Empty;
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"ties        {ties.Ties} of {ties.Codes} codes of inputs are the other one in the engine, at most {ties.Farthest:G2} of a step beside the tie "
                + $"({EngineDecisions.Tolerance} allowed); decided as there, {ties.Mismatches} codes differ{first}, and logits by "
                + $"{ties.LargestDifference:G3}"));
        if (!ties.SameLogits)
        {
            output.WriteLine("note: the file's logits are others when it puts out its codes as well, so that ties cannot be decided as it does by itself");
        }
    }
}
