using Nibble.Torch.Data;
using System.CommandLine;
using System.Globalization;
using Nibble.Models;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Commands;

/// <summary>The options that say what a model is for, and how its data are read.</summary>
internal sealed class TaskOptions
{
    public Option<string?> Task { get; } = Named(
        "--task", $"What the model is for: {string.Join(", ", TaskConfig.TaskNames)}; what its folder says when not given.", TaskConfig.TaskNames);

    public Option<string?> Pooling { get; } = Named(
        "--pooling", "embedding: how the vectors of a text's tokens become one: mean, cls (the first token's) or max; what the folder says, or mean, when not "
            + "given.", TaskConfig.PoolingNames);

    public Option<bool> Normalize { get; } = new("--normalize") { Description = "embedding: scale vectors to length 1." };

    public Option<int?> MaxLength { get; } = NumberOptions.AtLeast(
        "--max-length", 3, $"Tokens to which texts are cut; {ReadOptions.UsualLength} when not given, or what the model can take. How many were cut is said.");

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

    /// <summary>The task that is asked for; null where none is.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="folder">The model's folder, whose own pooling counts where none is given.</param>
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

    /// <summary>Opens the model that is asked for.</summary>
    public LoadedModel Open(ParseResult parsed, string folder) => LoadedModel.Open(folder, Read(parsed, folder));

    /// <summary>Reads data of a model's task, and says what is to be known of them.</summary>
    public ITaskData ReadData(CommandHost host, ParseResult parsed, string path, LoadedModel model)
    {
        if (model.Definition.Task == ModelTask.LanguageModelling)
        {
            CommonOptions.RefuseWithoutEffect(parsed, "it is for texts in lines, and a language model reads one long text in windows", MaxLength);
        }

        var length = CommonOptions.SequenceLength(
            MaxLength.Name, parsed.GetValue(MaxLength), ReadOptions.UsualLength, model.Definition.MaxSequence, model.Name);
        var data = ModelTasks.Of(model.Definition).Read(path, model, new ReadOptions(Math.Max(3, length)), host.Cancellation);
        foreach (var note in data.Notes)
        {
            host.Warn(note);
        }

        return data;
    }

    /// <summary>Tokens of the windows that a language model reads a text in; null for texts, which have lengths of their own.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="context">The option that asks for them.</param>
    /// <param name="model">The model.</param>
    /// <exception cref="UsageException">More are asked for than the model takes, or any for texts.</exception>
    public int? WindowLength(ParseResult parsed, Option<int?> context, LoadedModel model)
    {
        if (model.Definition.Task == ModelTask.LanguageModelling)
        {
            return EvalCommand.WindowLength(parsed.GetValue(context), model);
        }

        CommonOptions.RefuseWithoutEffect(
            parsed, $"it is for windows of a text; the texts of {model.Name} have lengths of their own (see {MaxLength.Name})", context);
        return null;
    }

    /// <summary>The options as another command takes them.</summary>
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
