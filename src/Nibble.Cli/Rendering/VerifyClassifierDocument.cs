using Nibble.Cli.Engines;

namespace Nibble.Cli.Rendering;

/// <summary>What <c>verify --json</c> prints of a classifier.</summary>
internal sealed record VerifyClassifierDocument(
    string Schema,
    string Model,
    string Engine,
    string Data,
    string Verdict,
    double SimulatedAccuracy,
    double EngineAccuracy,
    double SimulatedLoss,
    double EngineLoss,
    double LargestDifference,
    double Agreement,
    int Texts,
    double OwnLargestDifference,
    TieDifference? Ties)
{
    public const string CurrentSchema = "nibble.verify-classifier/1";
}
