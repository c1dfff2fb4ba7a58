using Nibble.Cli.Engines;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>verify --json</c> for an encoder.</summary>
internal sealed record VerifyEncoderDocument(
    string Schema,
    string Model,
    string Task,
    string Engine,
    string Data,
    string Verdict,
    IReadOnlyDictionary<string, double> Simulated,
    IReadOnlyDictionary<string, double> InEngine,
    double? SimulatedLoss,
    double? EngineLoss,
    double LargestDifference,
    double? Agreement,
    int Pieces,
    double OwnLargestDifference,
    TieDifference? Ties)
{
    public const string CurrentSchema = "nibble.verify-encoder/1";
}
