using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Onnx.Engine;
using Nibble.Torch.Data;
using Nibble.Torch.Models.Bert;

namespace Nibble.Cli.Commands;

/// <summary>What <c>nibble verify</c> does with an encoder that classifies texts.</summary>
/// <param name="Data">Labelled texts, <c>text TAB class</c>.</param>
/// <param name="Path">The exported file.</param>
/// <param name="Length">Tokens to which texts are cut; null for the usual number.</param>
/// <param name="Texts">Texts at most; null for all.</param>
/// <param name="Tolerance">By how many percent accuracies and losses may differ.</param>
/// <param name="LogitTolerance">By how much two logits may differ; null leaves that to whether the model's inputs are quantized.</param>
/// <param name="Threads">Threads of the engine.</param>
internal sealed record ClassifierVerification(string Data, string Path, int? Length, int? Texts, double Tolerance, double? LogitTolerance, int Threads)
{
    /// <summary>Compares, and writes what came out.</summary>
    /// <returns>The exit code.</returns>
    public int Run(CommandHost host, LoadedClassifier model, bool json)
    {
        var data = ClassificationData.Read(Data, model, EvalCommand.TextLength(Length, model));
        using var engine = OnnxRuntimeClassifier.Open(Path, Threads);
        using var ties = ClassifierTies.Open(model, Path, Threads);
        var difference = host.WithProgress(progress => ClassifierComparison.Run(model, engine, ties, data, Texts, progress, host.Cancellation));
        var same = difference.IsWithin(Tolerance)
            && (difference.Ties?.IsWithin(LogitTolerance ?? TieDifference.UsualLogitTolerance) ?? difference.LargestDifference <= (LogitTolerance ?? difference.RoundingLimit));
        Report(host, model.Name, data.Name, difference, same ? "same" : "differs", json);
        return same ? ExitCode.Done : ExitCode.NoSolution;
    }

    private static void Report(CommandHost host, string model, string data, ClassifierDifference difference, string verdict, bool json)
    {
        if (json)
        {
            host.WriteJson(
                new VerifyClassifierDocument(
                    VerifyClassifierDocument.CurrentSchema, model, OnnxRuntimeEngine.EngineName, data, verdict, difference.SimulatedAccuracy, difference.EngineAccuracy, difference.SimulatedLoss, difference.EngineLoss,
                    difference.LargestDifference, difference.Agreement, difference.Texts, difference.OwnDifference, difference.Ties),
                CliJson.Default.VerifyClassifierDocument);
            return;
        }

        var culture = CultureInfo.InvariantCulture;
        host.Output.WriteLine(string.Create(culture, $"accuracy    {difference.SimulatedAccuracy:P2} simulated, {difference.EngineAccuracy:P2} in {OnnxRuntimeEngine.EngineName}, of {difference.Texts} texts"));
        host.Output.WriteLine(string.Create(culture, $"loss        {difference.SimulatedLoss:F5} simulated, {difference.EngineLoss:F5} in {OnnxRuntimeEngine.EngineName}, nats a text"));
        host.Output.WriteLine(string.Create(culture, $"logits      largest difference {difference.LargestDifference:G3}; of the simulation from itself, each of the first texts by itself, {difference.OwnDifference:G3}"));
        TieReport.Write(host.Output, difference.Ties);
        host.Output.WriteLine(string.Create(culture, $"likeliest   the same class for {difference.Agreement:P2} of the texts"));
        host.Output.WriteLine($"verdict     {verdict}");
    }
}
