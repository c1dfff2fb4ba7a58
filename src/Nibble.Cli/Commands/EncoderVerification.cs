using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Torch.Data;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Models;
using Nibble.Onnx.Engine;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary>The part of <c>nibble verify</c> that handles encoders.</summary>
/// <param name="Data">Texts for its task.</param>
/// <param name="Path">The exported file.</param>
/// <param name="Count">Most texts or pairs to compare; null for all.</param>
/// <param name="Tolerance">Largest acceptable difference of metrics and losses, in percent.</param>
/// <param name="Limit">Largest acceptable difference of two values; null for a default that depends on whether inputs are quantized.</param>
/// <param name="Threads">Threads of the engine.</param>
internal sealed record EncoderVerification(ITaskData Data, string Path, int? Count, double Tolerance, double? Limit, int Threads)
{
    /// <summary>Compares, and writes the result.</summary>
    /// <returns>The exit code.</returns>
    public int Run(CommandHost host, LoadedModel model, bool json)
    {
        using var engine = OnnxRuntimeEncoder.Open(Path, Threads);
        using var ties = EncoderTies.Open(model, Path, Threads);
        var difference = host.WithProgress(progress => EncoderComparison.Run(model, engine, ties, Data, Count, progress, host.Cancellation));
        var same = difference.IsWithin(Tolerance)
            && (difference.Ties?.IsWithin(Limit ?? TieDifference.DefaultLogitTolerance) ?? difference.LargestDifference <= (Limit ?? difference.RoundingLimit));
        Report(host, model, difference, same ? "same" : "differs", json);
        return same ? ExitCode.Done : ExitCode.NoSolution;
    }

    private void Report(CommandHost host, LoadedModel model, EncoderDifference difference, string verdict, bool json)
    {
        var (ours, theirs) = (difference.Simulated, difference.Engine);
        if (json)
        {
            host.WriteJson(
                new VerifyEncoderDocument(
                    VerifyEncoderDocument.CurrentSchema, model.Name, TaskConfig.NameOf(model.Definition.Task!.Value), OnnxRuntimeEngine.EngineName, Data.Name,
                    verdict,
                    ScoreText.Document(ours), ScoreText.Document(theirs), ours.Loss,
                    theirs.Loss, difference.LargestDifference, theirs.Agreement, ours.Count, difference.OwnDifference, difference.Ties),
                CliJson.Default.VerifyEncoderDocument);
            return;
        }

        var culture = CultureInfo.InvariantCulture;
        const string Engine = OnnxRuntimeEngine.EngineName;
        var isClass = model.Definition.Task == ModelTask.Classification;
        host.Output.WriteLine(string.Create(
            culture, $"{ours.Main.Name,-11} {ScoreText.Value(ours.Main)} simulated, {ScoreText.Value(theirs.Main)} in {Engine}, on {ours.Count} "
                + $"{(ours.Loss is null ? "pairs" : "texts")}"));
        if (ours.Loss is { } loss)
        {
            var unit = isClass ? "nats" : "squared error";
            host.Output.WriteLine(string.Create(culture, $"loss        {loss:F5} simulated, {theirs.Loss:F5} in {Engine}, {unit} per text"));
        }

        host.Output.WriteLine(string.Create(
            culture,
            $"{(isClass ? "logits" : "values"),-11} largest difference {difference.LargestDifference:G3}; the simulation differs from itself by "
                + $"{difference.OwnDifference:G3} "
                + $"(first texts one by one instead of in batches)"));
        TieReport.Write(host.Output, difference.Ties);
        if (theirs.Agreement is { } agreement)
        {
            host.Output.WriteLine(isClass
                ? string.Create(culture, $"top-1       the same class for {agreement:P2} of the texts")
                : string.Create(culture, $"cosine      {agreement:F6} between the vectors, on average"));
        }

        host.Output.WriteLine($"verdict     {verdict}");
    }
}
