using System.CommandLine;
using Nibble.Torch.Evaluation.Questions;

namespace Nibble.Cli.Commands;

/// <summary>The options that say which questions a model is asked.</summary>
internal sealed class QuestionOptions
{
    public Option<string[]> Tasks { get; } = new("--tasks")
    {
        Description = "Task file: JSON lines of multiple-choice or cloze questions, as of HellaSwag, ARC, PIQA, WinoGrande, LAMBADA or MMLU, or in a plain "
            + "layout. Repeat it for several files, each of which is scored on its own.",
    };

    public Option<int?> Shots { get; } = NumberOptions.AtLeast(
        "--shots", 0, "With --tasks: examples with their answers before each question. They are the first of the file, which are then not asked. Default: 0.");

    public Option<string?> Examples { get; } = new("--examples") { Description = "With --tasks and --shots: file to take the examples from." };

    /// <summary>Adds the options to a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="others">Options without effect on questions.</param>
    /// <param name="further">Options of the command that are for questions only.</param>
    public void AddTo(Command command, IReadOnlyList<Option> others, IReadOnlyList<Option> further)
    {
        foreach (var option in (Option[])[Tasks, Shots, Examples])
        {
            command.Add(option);
        }

        command.Validators.Add(result =>
        {
            if (result.GetResult(Tasks) is not { Implicit: false })
            {
                OnnxDataOptions.Refuse(result, [Shots, Examples, .. further], $"is for questions, but {Tasks.Name} is not given");
                return;
            }

            OnnxDataOptions.Refuse(result, others, $"has no effect on questions, but {Tasks.Name} is given");
            if (result.GetResult(Examples) is { Implicit: false } && result.GetResult(Shots) is not { Implicit: false })
            {
                result.AddError($"{Examples.Name} is given without {Shots.Name}, the number of examples before each question.");
            }
        });
    }

    /// <summary>Reads the questions with their examples.</summary>
    /// <param name="host">Copies standard input and pipes to files.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="most">The maximum number of questions of a file. Null for all.</param>
    /// <returns>One item per task file; null if none is given.</returns>
    public IReadOnlyList<QuestionFile>? Read(CommandHost host, ParseResult parsed, int? most)
    {
        if (parsed.GetValue(Tasks) is not { Length: > 0 } paths)
        {
            return null;
        }

        var examples = parsed.GetValue(Examples) is { } path ? QuestionFile.Read(host.DataFiles([path])[0], host.Cancellation) : null;
        return [.. host.DataFiles(paths).Select(file => QuestionFile.Read(file, host.Cancellation).Prepare(parsed.GetValue(Shots) ?? 0, examples, most))];
    }
}
