using System.CommandLine;
using Nibble.Cli.Engines;
using Nibble.Torch.Evaluation.Questions;

namespace Nibble.Cli.Commands;

/// <summary>The options that say which questions a model is asked, and where it runs.</summary>
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

    public Option<string?> Engine { get; } = EngineOptions.Engine();

    public Option<string?> Libraries { get; } = EngineOptions.LibrariesFolder();

    public Option<string?> Tokenizer { get; } = EngineOptions.TokenizerFolder();

    /// <summary>Adds the options to a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="data">The option for other data, of which or of questions one is required.</param>
    /// <param name="others">Options without effect on questions.</param>
    public void AddTo(Command command, Option<string[]> data, IReadOnlyList<Option> others)
    {
        Option[] own = [Shots, Examples, Engine, Libraries, Tokenizer];
        command.Add(Tasks);
        foreach (var option in own)
        {
            command.Add(option);
        }

        command.Validators.Add(result =>
        {
            if (result.GetResult(Tasks) is { Implicit: false })
            {
                OnnxDataOptions.Refuse(result, [data, .. others], $"has no effect on questions, but {Tasks.Name} is given");
                if (result.GetResult(Examples) is { Implicit: false } && result.GetResult(Shots) is not { Implicit: false })
                {
                    result.AddError($"{Examples.Name} is given without {Shots.Name}, the number of examples before each question.");
                }

                return;
            }

            OnnxDataOptions.Refuse(result, own, $"is for questions, but {Tasks.Name} is not given");
            if (result.GetResult(data) is not { Implicit: false })
            {
                result.AddError($"Option '{data.Name}' or '{Tasks.Name}' is required.");
            }
        });
    }

    /// <summary>Reads the questions with their examples.</summary>
    /// <param name="host">Copies standard input to a file.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="most">The maximum number of questions of a file. Null for all.</param>
    /// <returns>One item per task file; null if none is given.</returns>
    public IReadOnlyList<QuestionFile>? Read(CommandHost host, ParseResult parsed, int? most)
    {
        if (parsed.GetValue(Tasks) is not { Length: > 0 } paths)
        {
            return null;
        }

        var examples = parsed.GetValue(Examples) is { } path ? QuestionFile.Read(path, host.Cancellation) : null;
        return [.. host.DataFiles(paths).Select(file => QuestionFile.Read(file, host.Cancellation).Prepare(parsed.GetValue(Shots) ?? 0, examples, most))];
    }
}
