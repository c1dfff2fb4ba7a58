using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble ptq</c> of a classifier, which is loaded whole: it takes seconds, so that nothing is kept to resume from.</summary>
/// <param name="Folder">The float classifier.</param>
/// <param name="Recipe">What to do with it.</param>
/// <param name="Data">Labelled texts to calibrate on; null where none are given.</param>
/// <param name="Output">The folder to write.</param>
/// <param name="Seed">Drives which texts are looked at.</param>
internal sealed record ClassifierQuantization(string Folder, Recipe Recipe, string? Data, string Output, long Seed)
{
    /// <summary>Quantizes, writes and reports.</summary>
    /// <exception cref="NibbleException">The classifier, the recipe or the texts cannot be used.</exception>
    public int Run(CommandHost host, bool json, long started)
    {
        OutputPlace.RequireNewFolder(Output);
        using var classifier = LoadedClassifier.Open(Folder);
        var texts = Data is null ? null : ClassificationData.Read(Data, classifier, Math.Max(3, Recipe.Ptq.SequenceLength));
        var quantized = host.WithProgress(progress => ClassifierQuantizer.Run(classifier, Recipe, texts, Seed, progress, host.Cancellation));
        QuantizedModelFile.Save(quantized, Output);
        using var checkpoint = Checkpoint.Open(Folder);
        var bytes = QuantizedModelFile.TensorBytes(Output);
        var result = new QuantizationResult(classifier.Name, quantized.Layers.Count, checkpoint.TensorBytes, bytes, quantized.Provenance.Calibration)
        {
            Summary = quantized.Summary!.WithSizes(bytes, checkpoint.TensorBytes),
        };
        QuantizeOutput.Report(host, json, result, Recipe.Name, "ptq", Output, started, loss: null);
        return ExitCode.Done;
    }
}
