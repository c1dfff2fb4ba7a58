using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Bert;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble eval</c>: how well a model or an artifact predicts a text.</summary>
internal static class EvalCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.ModelOrArtifact();
        var data = new Option<string>("--data", "-d") { Description = "The text to score: UTF-8, a line <|endoftext|> between two documents. For a classifier, lines 'text TAB class'.", Required = true };
        var context = CommonOptions.Context();
        var windows = CommonOptions.Windows();
        var reference = new Option<string?>("--reference") { Description = "A float model to compare with: adds top-1 agreement and mean KL divergence." };
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("eval", "Score a model on a text: perplexity over the second half of each window, as llama.cpp's perplexity tool does it. A classifier: accuracy on labelled texts.")
        {
            model, data, context, windows, reference, threads, json,
        };
        command.SetAction(parsed =>
        {
            CommandHost.StartTorch(parsed.GetValue(threads));
            if (LoadedClassifier.IsEncoderFolder(parsed.GetValue(model)!))
            {
                return Classify(parsed.GetValue(model)!);
            }

            using var loaded = LoadedModel.Open(parsed.GetValue(model)!);
            using var compared = parsed.GetValue(reference) is { } folder ? LoadedModel.Open(folder) : null;
            if (compared is not null && compared.Model.Config.VocabularySize != loaded.Model.Config.VocabularySize)
            {
                throw new NibbleException($"{compared.Folder}: the reference has a vocabulary of {compared.Model.Config.VocabularySize}, expected the model's {loaded.Model.Config.VocabularySize}");
            }

            var text = TokenizedText.Read(parsed.GetValue(data)!, loaded.Tokenizer);
            var length = WindowLength(parsed.GetValue(context), loaded);
            var result = host.WithProgress(progress =>
                Evaluator.Evaluate(loaded.Model, text, length, parsed.GetValue(windows), compared?.Model, progress, host.Cancellation));
            if (parsed.GetValue(json))
            {
                host.WriteJson(
                    new EvalDocument(EvalDocument.CurrentSchema, loaded.Name, text.Name, length, result.Windows, result.Tokens, result.Perplexity, result.Loss, result.Divergence, result.Agreement),
                    CliJson.Default.EvalDocument);
                return ExitCode.Done;
            }

            host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"perplexity  {result.Perplexity:F4}   ({result.Loss:F5} nats a token)"));
            if (compared is not null)
            {
                host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"KL          {result.Divergence:F5} nats a token from {compared.Name}"));
                host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"agreement   {result.Agreement:P2} of the likeliest tokens"));
            }

            host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"scored      {result.Tokens} tokens of {text.Name} in {result.Windows} windows of {length}"));
            return ExitCode.Done;

            int Classify(string folder)
            {
                CommonOptions.RefuseForClassifier(parsed, folder, windows, reference);
                using var classifier = LoadedClassifier.Open(folder);
                var texts = ClassificationData.Read(parsed.GetValue(data)!, classifier, TextLength(parsed.GetValue(context), classifier));
                var result = host.WithProgress(progress => ClassificationEvaluator.Evaluate(classifier.Model, texts, progress, host.Cancellation));
                if (parsed.GetValue(json))
                {
                    host.WriteJson(new EvalClassifierDocument(EvalClassifierDocument.CurrentSchema, classifier.Name, texts.Name, result.Accuracy, result.Loss, result.Count), CliJson.Default.EvalClassifierDocument);
                    return ExitCode.Done;
                }

                host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"accuracy    {result.Accuracy:P2}   of {result.Count} texts of {texts.Name}"));
                host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"loss        {result.Loss:F5} nats a text"));
                return ExitCode.Done;
            }
        });
        return command;
    }

    /// <summary>The window asked for, or 512, or less where the model cannot take that.</summary>
    public static int WindowLength(int? asked, LoadedModel model) => CommonOptions.SequenceLength("--context", asked, 512, model.Model.Config.MaxSequence, model.Name);

    /// <summary>The tokens to which a classifier's texts are cut: those asked for, or 128, or less where the classifier cannot take that.</summary>
    public static int TextLength(int? asked, LoadedClassifier model) =>
        CommonOptions.SequenceLength("--context", asked, ClassificationData.UsualLength, model.Model.Config.MaxLength, model.Name);
}
