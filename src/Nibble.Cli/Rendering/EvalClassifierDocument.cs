namespace Nibble.Cli.Rendering;

/// <summary>What <c>eval --json</c> prints of a classifier.</summary>
internal sealed record EvalClassifierDocument(string Schema, string Model, string Data, double Accuracy, double Loss, int Texts)
{
    public const string CurrentSchema = "nibble.eval-classifier/1";
}
