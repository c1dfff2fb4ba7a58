using Nibble.Torch.Data;
using System.CommandLine;
using System.Globalization;
using Nibble.Models;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Commands;

/// <summary>The options that set a model's task and how its data are read.</summary>
internal sealed class TaskOptions
{
    public Option<string?> Task { get; } = Named(
        "--task", $"Task of the model: {string.Join(", ", TaskConfig.TaskNames)}. Default: set by its folder.", TaskConfig.TaskNames);

    public Option<string?> Pooling { get; } = Named(
        "--pooling", "Pooling of token vectors to a text vector, for --task embedding: mean, cls (the first token's) or max. Default: set by "
            + "the folder, or mean.", TaskConfig.PoolingNames);

    public Option<bool> Normalize { get; } = new("--normalize") { Description = "Scale vectors to length 1, for --task embedding." };

    public Option<int?> MaxLength { get; } = NumberOptions.AtLeast(
        "--max-length", 3, $"Tokens per text; longer ones are truncated, with a warning. Default: {ReadOptions.DefaultLength}, or the model's limit if "
            + $"smaller.");

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(Task);
        command.Add(Pooling);
        command.Add(Normalize);
        command.Add(MaxLength);
        command.Validators.Add(result =>
        {
            var task = result.GetResult(Task)?.Tokens is [{ Value: var name }] ? name : null;
            foreach (var option in ((Option[])[Pooling, Normalize])
                .Where(option => result.GetResult(option) is { Implicit: false } && task != TaskConfig.NameOf(ModelTask.Embedding)))
            {
                result.AddError($"{option.Name} is for --task {TaskConfig.NameOf(ModelTask.Embedding)}, which is not given.");
            }
        });
    }

    /// <summary>The task given on the command line; null if none.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="folder">The model's folder, which gives the default pooling.</param>
    public TaskConfig? Read(ParseResult parsed, string folder)
    {
        if (parsed.GetValue(Task) is not { } name)
        {
            return null;
        }

        var task = new TaskConfig(TaskConfig.TaskOf(name)!.Value);
        if (task.Task != ModelTask.Embedding)
        {
            return task;
        }

        var own = Formats.HuggingFace.SentenceTransformers.Read(folder) ?? task;
        return own with
        {
            Pooling = parsed.GetValue(Pooling) is { } pooling ? TaskConfig.PoolingOf(pooling)!.Value : own.Pooling,
            Normalizes = parsed.GetValue(Normalize) || own.Normalizes,
        };
    }

    /// <summary>Opens the model with the task given on the command line.</summary>
    public LoadedModel Open(ParseResult parsed, string folder) => LoadedModel.Open(folder, Read(parsed, folder));

    /// <summary>Reads data for a model's task, in the order of its files, and reports notes about them.</summary>
    public ITaskData ReadData(CommandHost host, ParseResult parsed, IReadOnlyList<string> paths, LoadedModel model)
    {
        if (model.Definition.Task == ModelTask.LanguageModelling)
        {
            CommonOptions.RefuseWithoutEffect(parsed, "it is for data with one text per line, and a language model reads windows of one long text", MaxLength);
        }

        var length = CommonOptions.SequenceLength(
            MaxLength.Name, parsed.GetValue(MaxLength), ReadOptions.DefaultLength, model.Definition.MaxSequence, model.Name);
        var data = ModelTasks.Of(model.Definition).Read(host.DataFiles(paths), model, new ReadOptions(Math.Max(3, length)), host.Cancellation);
        foreach (var note in data.Notes)
        {
            host.Warn(note);
        }

        return data;
    }

    /// <summary>Tokens per window for a language model; null for other tasks, which read one text at a time.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="context">The option that sets the length.</param>
    /// <param name="model">The model.</param>
    /// <exception cref="UsageException">The length is more than the model supports, or the task has no windows.</exception>
    public int? WindowLength(ParseResult parsed, Option<int?> context, LoadedModel model)
    {
        if (model.Definition.Task == ModelTask.LanguageModelling)
        {
            return EvalCommand.WindowLength(parsed.GetValue(context), model);
        }

        CommonOptions.RefuseWithoutEffect(
            parsed, $"it is for windows of text, but each text of {model.Name} is read on its own (see {MaxLength.Name})", context);
        return null;
    }

    /// <summary>The options as arguments of another command.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="readsData">Whether that command reads data.</param>
    public IEnumerable<string> Words(ParseResult parsed, bool readsData)
    {
        foreach (var option in ((Option<string?>[])[Task, Pooling]).Where(option => parsed.GetValue(option) is not null))
        {
            yield return option.Name;
            yield return parsed.GetValue(option)!;
        }

        if (parsed.GetValue(Normalize))
        {
            yield return Normalize.Name;
        }

        if (readsData && parsed.GetValue(MaxLength) is { } length)
        {
            yield return MaxLength.Name;
            yield return length.ToString(CultureInfo.InvariantCulture);
        }
    }

    private static Option<string?> Named(string name, string description, IReadOnlyList<string> names)
    {
        var option = new Option<string?>(name) { Description = description };
        option.AcceptOnlyFromAmong([.. names]);
        return option;
    }
}
