using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Models;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble eval</c>: scores a model or an artifact on its task.</summary>
internal static class EvalCommand
{
    public static Command Create(CommandHost host)
    {
        var model = new Argument<string>("MODEL_OR_ARTIFACT")
        {
            Description = "A Hugging Face model folder, or an artifact folder written by ptq, qat or compare. With --tasks, also an exported GGUF or ONNX file."
        };
        var task = new TaskOptions();
        var data = CommonOptions.Data(
            "Evaluation data. Language models: UTF-8 text, with a line <|endoftext|> between documents. Classifiers: lines 'text TAB label' or "
                + "'text TAB text TAB label'. Embedding models: lines 'text TAB text TAB score'.",
            required: false);
        var questions = new QuestionOptions();
        var (engine, libraries, tokenizer) = (EngineOptions.Engine(), EngineOptions.LibrariesFolder(), EngineOptions.TokenizerFolder());
        var context = CommonOptions.Context();
        var windows = NumberOptions.AtLeast("--windows", 1, "Number of windows, texts, pairs or questions to score, from the start. Default: all.");
        windows.Aliases.Add("--limit");
        var reference = new Option<string?>("--reference")
        {
            Description = "Float model to compare with. Adds the agreement and the divergence of the predictions; with --tasks, the paired differences."
        };
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "eval", "Score a model on its task: perplexity (language models, computed as in llama.cpp's perplexity tool), accuracy (classifiers) or rank "
            + "correlation (embedding models); or on multiple-choice and cloze questions, as lm-evaluation-harness does.")
        {
            model, data, context, windows, reference, engine, libraries, tokenizer, threads, json,
        };
        task.AddTo(command);
        questions.AddTo(command, [data, context, task.Task, task.Pooling, task.Normalize, task.MaxLength], [engine, libraries, tokenizer]);
        command.Validators.Add(result =>
        {
            if (result.GetResult(data) is not { Implicit: false } && result.GetResult(questions.Tasks) is not { Implicit: false })
            {
                result.AddError($"Option '{data.Name}' or '{questions.Tasks.Name}' is required.");
            }
        });
        command.SetAction(parsed =>
        {
            if (questions.Read(host, parsed, parsed.GetValue(windows)) is { } files)
            {
                string[] paths = [parsed.GetValue(model)!, .. parsed.GetValue(reference) is { } other ? [other] : Array.Empty<string>()];
                EngineOptions.RefuseOfOthers(parsed, [.. paths.Select(path => EngineRun.Of(path, parsed.GetValue(engine)))], libraries, tokenizer);
                return new QuestionEvaluation(host, parsed.GetValue(engine), parsed.GetValue(libraries), parsed.GetValue(tokenizer), parsed.GetValue(threads))
                    .Run(paths[0], paths.ElementAtOrDefault(1), files, parsed.GetValue(json));
            }

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

    /// <summary>The window length given, or 512, limited to what the model supports.</summary>
    public static int WindowLength(int? asked, LoadedModel model) =>
        CommonOptions.SequenceLength("--context", asked, LanguageModelling.DefaultContext, model.Definition.MaxSequence, model.Name);

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
            output.WriteLine(string.Create(culture, $"distance    {score.Divergence:G5} squared from the values of {reference}, on average"));
        }
        else if (reference is not null)
        {
            var piece = context is null ? "text" : "token";
            output.WriteLine(string.Create(culture, $"KL          {score.Divergence:F5} nats per {piece} from {reference}"));
            output.WriteLine(string.Create(culture, $"agreement   {score.Agreement:P2} of the top-1 {(context is null ? "classes" : "tokens")}"));
        }

        output.WriteLine(context is { } length
            ? string.Create(culture, $"scored      {score.Predictions} tokens of {data} in {score.Count} windows of {length}")
            : string.Create(culture, $"scored      {score.Count} {(score.Loss is null ? "pairs" : "texts")} of {data}"));
    }
}
