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

/// <summary><c>nibble finetune</c>: trains a float model on a task, before quantization.</summary>
internal static class FinetuneCommand
{
    /// <summary>The default number of passes over the training data.</summary>
    public const double DefaultEpochs = 3;

    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.Model();
        var task = new TaskOptions();
        var data = CommonOptions.Data(
            "Training data. Classification: lines 'text TAB label' or 'text TAB text TAB label', with label names or numbers. Regression: "
                + "the same, with a value instead of the label. Language modelling: text.",
            required: true);
        var evalData = CommonOptions.EvalData("Held-out data to score the trained model on.");
        var output = CommonOptions.Output();
        var epochs = NumberOptions.Number(
            "--epochs", value => value is > 0 and <= 10_000, "above 0", $"Passes over the training data. Default: {DefaultEpochs}.");
        var steps = NumberOptions.AtLeast("--steps", 1, "Training steps, instead of --epochs.");
        var rate = NumberOptions.Number(
            "--learning-rate", value => value is > 0 and <= float.MaxValue, "above 0, and at most 3.4e38",
            $"Peak learning rate. Default: {Defaults(false).LearningRate}.");
        var batch = NumberOptions.AtLeast(
            "--batch-size", 1, $"Texts or windows per step. Default: {Defaults(false).BatchSize} texts or {Defaults(true).BatchSize} windows.");
        var every = NumberOptions.AtLeast(
            "--checkpoint-every", 1, "Steps between checkpoints, from which an interrupted training resumes. Default: about one checkpoint per minute.");
        var restart = CommonOptions.Restart();
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "finetune", "Train a float model on a task: a classifier from a pretrained encoder, or a decoder on text. Run the same command again "
            + "to resume.")
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
            var settings = Defaults(loaded.Definition.Task == ModelTask.LanguageModelling) with
            {
                SequenceLength = Math
                .Min(Defaults(true).SequenceLength, loaded.Definition.MaxSequence)
            };
            settings = settings with
            {
                LearningRate = parsed.GetValue(rate) ?? settings.LearningRate,
                BatchSize = parsed.GetValue(batch) ?? settings.BatchSize
            };
            settings = settings with
            {
                Steps = parsed.GetValue(steps)
                ?? StepsOf(training, settings, parsed.GetValue(epochs) ?? DefaultEpochs, parsed.GetValue(seed))
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
                var score = parsed.GetValue(evalData) is { Length: > 0 } files ? Score(files) : null;
                Report(host, parsed.GetValue(json), loaded, training, options, result, score, Stopwatch.GetElapsedTime(started).TotalSeconds);
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                return host.Fail([Failure.Cancelled(
                    "cancelled; finished steps are kept, and the same command resumes from there (--restart starts over)")]);
            }

            TaskScore Score(string[] files)
            {
                var held = task.ReadData(host, parsed, files, loaded);
                using var trained = LoadedModel.Open(folder);
                return host.WithProgress(
                    progress => ModelTasks.Of(trained.Definition).Evaluate(trained.Model, held, new ScoreOptions(), progress, host.Cancellation));
            }
        });
        return command;
    }

    /// <summary>The default training settings.</summary>
    /// <param name="isText">Whether the data are windows of text instead of one text per line.</param>
    public static QatSettings Defaults(bool isText) => new()
    {
        LearningRate = 1e-4,
        WeightDecay = 0.01,
        WarmUp = 0.1,
        BatchSize = isText ? 4 : 32,
    };

    /// <summary>The number of steps that make a number of passes over the data.</summary>
    public static int StepsOf(ITaskData data, QatSettings settings, double epochs, long seed) =>
        (int)Math.Clamp(Math.Ceiling(epochs * data.Batches(settings.BatchSize, settings.SequenceLength, seed).StepsPerEpoch), 1, int.MaxValue);

    /// <summary>Opens a model with the head that a task needs, initialized randomly if the checkpoint has none.</summary>
    /// <param name="host">Takes a warning about what was initialized.</param>
    /// <param name="folder">The model's folder.</param>
    /// <param name="task">The task; null for the one that the folder specifies.</param>
    /// <param name="data">The files of the data, whose labels define the classes.</param>
    /// <param name="seed">The random seed of the initialization.</param>
    /// <param name="quiet">Whether to report nothing.</param>
    /// <returns>The model, and whether its head was randomly initialized.</returns>
    public static (LoadedModel Model, bool IsDrawn) Open(
        CommandHost host, string folder, TaskConfig? task, IReadOnlyList<string> data, long seed, bool quiet = false)
    {
        switch (task?.Task)
        {
            case ModelTask.Embedding:
                throw new NibbleException(
                    "finetune cannot train an embedding model, because texts alone do not define its vectors; to quantize one with training, "
                    + "use nibble qat, which learns from the float model");
            case null or ModelTask.LanguageModelling:
                return (LoadedModel.Open(folder, task), false);
        }

        var labels = task.Task == ModelTask.Classification ? ClassLabels.OfData(TextData.ReadLabels(data, host.Cancellation))
            : new ClassLabels(["LABEL_0"]);
        if (labels.Names.Count < 2 && task.Task == ModelTask.Classification)
        {
            throw new NibbleException($"{string.Join(", ", data)}: all texts have the label '{labels.Names[0]}', expected at least two classes");
        }

        var (loaded, drawn) = LoadedModel.OpenWithHead(folder, json => task.AddTo(KeepsClasses(json, labels) ? json : labels.AddTo(json)), seed);
        if (drawn.Count > 0 && !quiet)
        {
            host.Warn($"the checkpoint has no {string.Join(", ", drawn.Select(name => name[..name.LastIndexOf('.')]).Distinct())} for this task; "
                + $"it is initialized randomly with seed {seed}");
        }

        return (loaded, drawn.Count > 0);
    }

    /// <summary>Whether a model's head already has the classes of the data, so that their names and order are kept.</summary>
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
