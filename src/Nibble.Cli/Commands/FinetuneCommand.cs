using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Cli.Rendering;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble finetune</c>: a float model trained on a task, from which quantization starts.</summary>
internal static class FinetuneCommand
{
    /// <summary>How often a training goes over its data, where nothing else is asked for.</summary>
    public const double UsualEpochs = 3;

    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.Model();
        var task = new TaskOptions();
        var data = new Option<string>("--data", "-d")
        {
            Description = "What to train on. Classification: lines 'text TAB label' or 'text TAB text TAB label', labels by name or number. Regression: the "
                + "same with a number. "
                + "Language modelling: a text.",
            Required = true,
        };
        var evalData = new Option<string?>("--eval-data", "-e") { Description = "Data to score the trained model on." };
        var output = CommonOptions.Output();
        var epochs = NumberOptions.Number(
            "--epochs", value => value is > 0 and <= 10_000, "above 0", $"How often to go over the data; {UsualEpochs} when not given.");
        var steps = NumberOptions.AtLeast("--steps", 1, "Optimizer steps, instead of --epochs.");
        var rate = NumberOptions.Number(
            "--learning-rate", value => value is > 0 and <= float.MaxValue, "above 0, and at most 3.4e38",
            $"Peak learning rate; {Usual(false).LearningRate} when not given.");
        var batch = NumberOptions.AtLeast(
            "--batch-size", 1, $"Texts in a step, or windows; {Usual(false).BatchSize} texts or {Usual(true).BatchSize} windows when not given.");
        var every = NumberOptions.AtLeast(
            "--checkpoint-every", 1, "Steps after which the training saves itself, to resume from when it is interrupted; about every minute when not given.");
        var restart = CommonOptions.Restart();
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "finetune", "Train a float model on a task: a classifier from a pretrained encoder, a decoder on a text; run it again to resume where it was "
            + "stopped.")
        {
            model, data, evalData, output, epochs, steps, rate, batch, every, restart, seed, threads, json,
        };
        task.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetResult(epochs) is { Implicit: false } && result.GetResult(steps) is { Implicit: false })
            {
                result.AddError("Give --epochs or --steps, not both.");
            }
        });
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var folder = parsed.GetValue(output)!;
            OutputPlace.RequireNewOrUnfinished(folder);
            CommandHost.StartTorch(parsed.GetValue(threads));
            var source = parsed.GetValue(model)!;
            var texts = host.Rereadable(parsed.GetValue(data)!);
            var (loaded, _) = Open(host, source, task.Read(parsed, source), texts, parsed.GetValue(seed));
            using var opened = loaded;
            var training = task.ReadData(host, parsed, texts, loaded);
            var settings = Usual(loaded.Definition.Task == ModelTask.LanguageModelling) with
            {
                SequenceLength = Math
                .Min(Usual(true).SequenceLength, loaded.Definition.MaxSequence)
            };
            settings = settings with
            {
                LearningRate = parsed.GetValue(rate) ?? settings.LearningRate,
                BatchSize = parsed.GetValue(batch) ?? settings.BatchSize
            };
            settings = settings with
            {
                Steps = parsed.GetValue(steps)
                ?? StepsOf(training, settings, parsed.GetValue(epochs) ?? UsualEpochs, parsed.GetValue(seed))
            };
            var options = new FinetuneOptions(loaded, settings, training, folder)
            {
                Seed = parsed.GetValue(seed),
                CheckpointEvery = parsed.GetValue(every),
                Restart = parsed.GetValue(restart),
            };
            try
            {
                var result = host.WithProgress(progress => FinetuneRun.Run(options, progress, host.Cancellation));
                var score = parsed.GetValue(evalData) is { } path ? Score(path) : null;
                Report(host, parsed.GetValue(json), loaded, training, options, result, score, Stopwatch.GetElapsedTime(started).TotalSeconds);
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                return host.Fail([Failure.Cancelled(
                    "cancelled; the steps that are done are kept, and the same command resumes from there (--restart starts over)")]);
            }

            TaskScore Score(string path)
            {
                var held = task.ReadData(host, parsed, path, loaded);
                using var trained = LoadedModel.Open(folder);
                return host.WithProgress(
                    progress => ModelTasks.Of(trained.Definition).Evaluate(trained.Model, held, new ScoreOptions(), progress, host.Cancellation));
            }
        });
        return command;
    }

    /// <summary>How models are trained where nothing else is asked for.</summary>
    /// <param name="isText">Whether windows of a text are trained on, and not texts in lines.</param>
    public static QatSettings Usual(bool isText) => new()
    {
        LearningRate = 1e-4,
        WeightDecay = 0.01,
        WarmUp = 0.1,
        BatchSize = isText ? 4 : 32,
    };

    /// <summary>The steps that go over data a number of times.</summary>
    public static int StepsOf(ITaskData data, QatSettings settings, double epochs, long seed) =>
        (int)Math.Clamp(Math.Ceiling(epochs * data.Batches(settings.BatchSize, settings.SequenceLength, seed).StepsPerEpoch), 1, int.MaxValue);

    /// <summary>Opens a model with the head that a task needs, which is drawn where the checkpoint has none.</summary>
    /// <param name="host">Told what was drawn.</param>
    /// <param name="folder">The model's folder.</param>
    /// <param name="task">The task that is asked for; null is what the folder says.</param>
    /// <param name="data">The data, whose labels say what classes there are.</param>
    /// <param name="seed">Drives what is drawn.</param>
    /// <param name="quiet">Whether nothing is told.</param>
    /// <returns>The model, and whether a head was drawn for it.</returns>
    public static (LoadedModel Model, bool IsDrawn) Open(
        CommandHost host, string folder, TaskConfig? task, string data, long seed, bool quiet = false)
    {
        switch (task?.Task)
        {
            case ModelTask.Embedding:
                throw new NibbleException(
                    "an embedding model is not fine-tuned here: texts alone do not say what their vectors should be; quantize it with nibble qat, which "
                    + "learns from the float model");
            case null or ModelTask.LanguageModelling:
                return (LoadedModel.Open(folder, task), false);
        }

        var labels = task.Task == ModelTask.Classification ? ClassLabels.OfData(TextData.ReadLabels(data, host.Cancellation))
            : new ClassLabels(["LABEL_0"]);
        if (labels.Names.Count < 2 && task.Task == ModelTask.Classification)
        {
            throw new NibbleException($"{data}: all texts have the label '{labels.Names[0]}', expected at least two classes");
        }

        var (loaded, drawn) = LoadedModel.OpenWithHead(folder, json => task.AddTo(KeepsClasses(json, labels) ? json : labels.AddTo(json)), seed);
        if (drawn.Count > 0 && !quiet)
        {
            host.Warn($"the checkpoint has no {string.Join(", ", drawn.Select(name => name[..name.LastIndexOf('.')]).Distinct())} for this task: begun anew "
                + $"with seed {seed}");
        }

        return (loaded, drawn.Count > 0);
    }

    /// <summary>Whether a model has a head whose classes are those of the data, so that its names and its order stay.</summary>
    private static bool KeepsClasses(string configJson, ClassLabels labels) =>
        configJson.Contains("id2label", StringComparison.Ordinal) && ClassLabels.Of(configJson) is var own && own.Names.Count >= labels.Names.Count
            && labels.Names.All(name => own.Knows(name));

    private static void Report(
        CommandHost host, bool json, LoadedModel model, ITaskData data, FinetuneOptions options, FinetuneResult result, TaskScore? score, double seconds)
    {
        var task = TaskConfig.NameOf(model.Definition.Task!.Value);
        if (json)
        {
            host.WriteJson(
                new FinetuneDocument(FinetuneDocument.CurrentSchema, model.Name, task, options.Output, data.Name, data.Count, options.Settings.Steps,
                    result.FinalLoss, seconds)
                {
                    Metrics = score is null ? [] : ScoreText.Document(score),
                },
                CliJson.Default.FinetuneDocument);
            return;
        }

        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{options.Output}: {model.Name} trained for {task} in {options.Settings.Steps} steps on {data.Name}, {seconds:F1} s"));
        if (result.FinalLoss is { } loss)
        {
            host.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"final loss  {loss:F4}"));
        }

        if (score is not null)
        {
            ScoreText.Write(host.Output, score);
        }
    }
}
