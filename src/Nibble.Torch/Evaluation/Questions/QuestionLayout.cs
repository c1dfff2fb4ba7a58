namespace Nibble.Torch.Evaluation.Questions;

/// <summary>How the lines of a task file become questions: the fields of a data set, and the prompt of lm-evaluation-harness for it.</summary>
/// <remarks>EleutherAI/lm-evaluation-harness, <c>lm_eval/tasks</c>: the templates of each task. The space before an answer is its <c>target_delimiter</c>.
/// </remarks>
/// <param name="Name">The name, for output and messages.</param>
/// <param name="Fields">The fields that distinguish the layout.</param>
/// <param name="Parse">Makes the question of a line.</param>
internal sealed record QuestionLayout(string Name, IReadOnlyList<string> Fields, Func<QuestionRow, Question> Parse)
{
    private const string Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    /// <summary>Whether choices are also compared per character (<c>acc_norm</c>).</summary>
    public bool Normalizes { get; init; }

    /// <summary>Whether the model completes a text instead of choosing among answers.</summary>
    public bool IsCloze { get; init; }

    /// <summary>The layouts. The first whose fields a line has is its layout.</summary>
    public static IReadOnlyList<QuestionLayout> All { get; } =
    [
        new("HellaSwag", ["endings"], HellaSwag) { Normalizes = true },
        new("PIQA", ["goal", "sol1", "sol2"], Piqa) { Normalizes = true },
        new("WinoGrande", ["sentence", "option1", "option2"], WinoGrande),
        new("ARC", ["question", "answerKey"], Arc) { Normalizes = true },
        new("MMLU", ["question", "choices"], Mmlu),
        new("choices", ["context", "choices"], Choices) { Normalizes = true },
        new("cloze", ["context", "target"], Cloze) { IsCloze = true },
        new("LAMBADA", ["text"], Lambada) { IsCloze = true },
    ];

    private static Question HellaSwag(QuestionRow row)
    {
        // ctx_b is the beginning of the sentence that an ending completes.
        var context = row.Has("ctx_a") ? $"{row.Text("ctx_a")} {Capitalized(row.TextOrNull("ctx_b") ?? string.Empty)}" : row.Text("ctx");
        var endings = row.Texts("endings", least: 2);
        return Among(row, Cleaned($"{row.Text("activity_label")}: {context}"), [.. endings.Select(Cleaned)], row.Index("label", 0, endings.Count), "endings");
    }

    private static Question Piqa(QuestionRow row) =>
        Among(row, $"Question: {row.Text("goal")}\nAnswer:", [row.Text("sol1"), row.Text("sol2")], row.Index("label", 0, 2), "sol");

    /// <remarks>Partial evaluation (Trinh and Le 2018): the options stand in the context, and what follows them is scored.</remarks>
    private static Question WinoGrande(QuestionRow row)
    {
        var sentence = row.Text("sentence");
        var gap = sentence.IndexOf('_', StringComparison.Ordinal);
        if (gap < 0)
        {
            throw row.Wrong("sentence", "without a gap", "text with _ in the place of the options");
        }

        var rest = sentence[(gap + 1)..].Trim();
        if (rest.Length == 0)
        {
            throw row.Wrong("sentence", "without text after the gap", "text after _, which is scored");
        }

        string[] options = [row.Text("option1"), row.Text("option2")];
        return new Question(
            row.Place, [.. options.Select(option => Candidate.Of(sentence[..gap] + option, $" {rest}", rest))], row.Index("answer", 1, options.Length));
    }

    private static Question Arc(QuestionRow row)
    {
        // The files of the Allen Institute have an object as the question, those on Hugging Face a text.
        var (question, labels, texts) = row.HasObject("question") ? Original(row.Object("question")) : Columns(row);
        if (labels.Count != texts.Count)
        {
            throw row.Wrong("choices.label", $"a list of {labels.Count}", $"one for each of the {texts.Count} texts");
        }

        return Among(row, $"Question: {question}\nAnswer:", texts, row.IndexOf("answerKey", labels), "choices.text");

        static (string Question, IReadOnlyList<string> Labels, IReadOnlyList<string> Texts) Original(QuestionRow question)
        {
            var choices = question.Objects("choices");
            return (question.Text("stem"), [.. choices.Select(choice => choice.Text("label"))], [.. choices.Select(choice => choice.Text("text"))]);
        }

        static (string Question, IReadOnlyList<string> Labels, IReadOnlyList<string> Texts) Columns(QuestionRow row) =>
            (row.Text("question"), row.Object("choices").Texts("label"), row.Object("choices").Texts("text"));
    }

    private static Question Mmlu(QuestionRow row)
    {
        var choices = row.Texts("choices", least: 2, most: Letters.Length);
        var lines = choices.Select((choice, i) => $"{Letters[i]}. {choice}\n");
        string[] letters = [.. Letters[..choices.Count].Select(letter => letter.ToString())];
        var answer = row.HasLetters("answer") ? row.IndexOf("answer", letters) : row.Index("answer", 0, choices.Count);
        var subject = row.TextOrNull("subject");
        return Among(row, $"{row.Text("question").Trim()}\n{string.Concat(lines)}Answer:", letters, answer, "choices") with
        {
            Subject = subject,
            Description = string.IsNullOrWhiteSpace(subject) ? string.Empty
                : $"The following are multiple choice questions (with answers) about {subject.Trim().Replace('_', ' ')}.\n\n",
        };
    }

    private static Question Choices(QuestionRow row)
    {
        var choices = row.Texts("choices", least: 2);
        return Among(row, row.Text("context"), choices, row.Index("answer", 0, choices.Count), "choices", row.TextOrNull("delimiter") ?? " ");
    }

    private static Question Cloze(QuestionRow row) =>
        Among(row, row.Text("context"), [row.Text("target")], 0, "target", row.TextOrNull("delimiter") ?? " ");

    private static Question Lambada(QuestionRow row)
    {
        var text = row.Text("text");
        var last = text.LastIndexOf(' ');
        if (last < 0 || last == text.Length - 1)
        {
            throw row.Wrong("text", last < 0 ? "without a space" : "text that ends with a space", "text whose last word, after a space, is to be completed");
        }

        // As an example of others, lm-evaluation-harness writes the space of the word and that between context and answer.
        return new Question(row.Place, [Candidate.Of(text[..last], text[last..], text[last..])], 0) { Example = $"{text[..last]} {text[last..]}" };
    }

    private static Question Among(QuestionRow row, string context, IReadOnlyList<string> choices, int answer, string field, string delimiter = " ")
    {
        var empty = choices.ToList().FindIndex(choice => choice.Length == 0);
        return empty < 0
            ? new Question(row.Place, [.. choices.Select(choice => Candidate.Of(context, delimiter + choice, choice))], answer)
            : throw row.Wrong(field, $"empty at position {empty + 1}", "text, whose log-likelihood is computed");
    }

    /// <summary>The first character in upper case and all others in lower case, as Python's <c>capitalize</c>.</summary>
    private static string Capitalized(string text) =>
        text.Length == 0 ? text : $"{char.ToUpperInvariant(text[0])}{text[1..].ToLowerInvariant()}";

    /// <summary>Text without the marks of WikiHow pages, as lm-evaluation-harness cleans HellaSwag.</summary>
    private static string Cleaned(string text)
    {
        var lines = text.Trim().Replace(" [title]", ". ", StringComparison.Ordinal).Split('\n');
        return string.Join('\n', lines.Select(WithoutBrackets)).Replace("  ", " ", StringComparison.Ordinal);
    }

    /// <summary>A line without brackets and what is in them.</summary>
    private static string WithoutBrackets(string line)
    {
        var kept = new System.Text.StringBuilder();
        for (var at = 0; ;)
        {
            var open = line.IndexOf('[', at);
            var close = open < 0 ? -1 : line.IndexOf(']', open);
            if (close < 0)
            {
                return kept.Append(line, at, line.Length - at).ToString();
            }

            kept.Append(line, at, open - at);
            at = close + 1;
        }
    }
}
