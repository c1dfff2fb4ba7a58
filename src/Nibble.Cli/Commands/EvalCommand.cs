using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Models;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble eval</c>: how well a model or an artifact does its task.</summary>
internal static class EvalCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.ModelOrArtifact();
        var task = new TaskOptions();
        var data = new Option<string>("--data", "-d")
        {
            Description = "What to score on. A language model: a text, UTF-8, a line <|endoftext|> between two documents. A classifier: lines 'text TAB "
                + "label' or "
                + "'text TAB text TAB label'. An embedding model: lines 'text TAB text TAB score'.",
            Required = true,
        };
        var context = CommonOptions.Context();
        var windows = NumberOptions.AtLeast("--windows", 1, "Score only the first N windows, texts or pairs.");
        var reference = new Option<string?>("--reference")
        { Description = "A float model to compare with: adds how often both agree and how far their predictions are apart." };
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "eval", "Score a model: perplexity of a text as llama.cpp's perplexity tool does it, accuracy of a classifier, rank correlation of an embedding "
            + "model.")
        {
            model, data, context, windows, reference, threads, json,
        };
        task.AddTo(command);
        command.SetAction(parsed =>
        {
            CommandHost.StartTorch(parsed.GetValue(threads));
            using var loaded = task.Open(parsed, parsed.GetValue(model)!);
            using var compared = parsed.GetValue(reference) is { } folder ? task.Open(parsed, folder) : null;
            if (compared is not null)
            {
                RequireAlike(loaded, compared);
            }

            var length = task.WindowLength(parsed, context, loaded);
            var read = task.ReadData(host, parsed, parsed.GetValue(data)!, loaded);
            var options = new ScoreOptions { Context = length, Count = parsed.GetValue(windows), Reference = compared?.Model };
            var score = host.WithProgress(progress => ModelTasks.Of(loaded.Definition).Evaluate(loaded.Model, read, options, progress, host.Cancellation));
            if (parsed.GetValue(json))
            {
                host.WriteJson(
                    new EvalDocument(
                        EvalDocument.CurrentSchema, loaded.Name, TaskConfig.NameOf(loaded.Definition.Task!.Value), read.Name,
                        ScoreText.Document(score), score.Loss, length, score.Count, score.Predictions, score.Divergence,
                        score.Agreement),
                    CliJson.Default.EvalDocument);
                return ExitCode.Done;
            }

            Write(host.Output, loaded.Definition.Task!.Value, score, read.Name, length, compared?.Name);
            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>The window asked for, or 512, or less where the model cannot take that.</summary>
    public static int WindowLength(int? asked, LoadedModel model) =>
        CommonOptions.SequenceLength("--context", asked, LanguageModelling.UsualContext, model.Definition.MaxSequence, model.Name);

    private static void RequireAlike(LoadedModel model, LoadedModel reference)
    {
        if (reference.Definition.Task != model.Definition.Task)
        {
            throw new NibbleException(
                $"{reference.Folder}: the reference is for {TaskConfig.NameOf(reference.Definition.Task!.Value)}, expected the model's task, "
                + TaskConfig.NameOf(model.Definition.Task!.Value));
        }

        if (reference.Definition.VocabularySize != model.Definition.VocabularySize)
        {
            throw new NibbleException($"{reference.Folder}: the reference has a vocabulary of {reference.Definition.VocabularySize}, expected the model's "
                + $"{model.Definition.VocabularySize}");
        }
    }

    private static void Write(TextWriter output, ModelTask task, TaskScore score, string data, int? context, string? reference)
    {
        var culture = CultureInfo.InvariantCulture;
        ScoreText.Write(output, score);
        if (reference is not null && task == ModelTask.Embedding)
        {
            output.WriteLine(string.Create(culture, $"cosine      {score.Agreement:F5} with the vectors of {reference}, on average"));
        }
        else if (reference is not null && task == ModelTask.Regression)
        {
            output.WriteLine(string.Create(culture, $"distance    {score.Divergence:G5} squared from the numbers of {reference}, on average"));
        }
        else if (reference is not null)
        {
            var piece = context is null ? "text" : "token";
            output.WriteLine(string.Create(culture, $"KL          {score.Divergence:F5} nats a {piece} from {reference}"));
            output.WriteLine(string.Create(culture, $"agreement   {score.Agreement:P2} of the likeliest {(context is null ? "classes" : "tokens")}"));
        }

        output.WriteLine(context is { } length
            ? string.Create(culture, $"scored      {score.Predictions} tokens of {data} in {score.Count} windows of {length}")
            : string.Create(culture, $"scored      {score.Count} {(score.Loss is null ? "pairs" : "texts")} of {data}"));
    }
}
