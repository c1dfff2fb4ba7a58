using System.Text;
using Nibble.Tests.Shared;
using Nibble.Torch.Evaluation.Questions;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Evaluation.Questions;

/// <summary>Prompts worked by hand from the templates of lm-evaluation-harness.</summary>
public sealed class QuestionFileTests
{
    private const string HellaSwag =
        """{"ctx_a":"[header] How to bake [title] Heat the oven. [step] A","ctx_b":"the MAN","ctx":"unused","activity_label":"Baking","""
        + """ "endings":["opens  it. [substeps] Wait.","leaves.","sleeps.","sings."],"label":"1"}""";

    private const string Arc =
        """{"id":"x","question":"Which is a gas?","choices":{"text":["ice","steam","rock"],"label":["A","B","C"]},"answerKey":"B"}""";

    private const string OldArc =
        """{"question":{"stem":"Which is a gas?","choices":[{"text":"ice","label":"1"},{"text":"steam","label":"2"}]},"answerKey":"2"}""";

    private const string Piqa = """{"goal":"Open a jar","sol1":"turn the lid","sol2":"turn the table","label":0}""";

    private const string WinoGrande =
        """{"sentence":"The cup did not fit in the bag because the _ was too big.","option1":"cup","option2":"bag","answer":"1"}""";

    private const string Lambada = """{"text":"She opened the door and saw the\u00fc sea"}""";

    private const string Mmlu = """{"question":" 2 + 2? ","subject":"abstract_algebra","choices":["1","2","3","4"],"answer":3}""";

    [Fact]
    public void HellaSwagIsCleanedAndLeadByItsActivity()
    {
        // The mark of a title becomes a stop, other marks vanish, and of each two spaces one remains. The rest of ctx_b becomes lower case.
        var question = Single(HellaSwag, "HellaSwag");
        Assert.Equal("Baking: How to bake. Heat the oven. A The man", question.Candidates[0].Context);
        Assert.Equal([" opens it. Wait.", " leaves.", " sleeps.", " sings."], question.Candidates.Select(candidate => candidate.Continuation));
        Assert.Equal([15, 7, 7, 6], question.Candidates.Select(candidate => candidate.Characters));
        Assert.Equal(1, question.Answer);
        Assert.Equal("Baking: How to bake. Heat the oven. A The man leaves.", question.Example);
    }

    [Theory]
    [InlineData("a [b] c", "a c")]
    [InlineData("a [b c", "a [b c")]
    [InlineData("a ] [b]] c", "a ] ] c")]
    [InlineData("a [b\\nc] d", "a [b\nc] d")]
    [InlineData("a    b", "a  b")]
    [InlineData("[] a [title] b", " a. b")]
    public void MarksOfHellaSwagVanishAsPythonRemovesThem(string ending, string expected)
    {
        var line = $$"""{"ctx":"c","activity_label":"l","endings":["{{ending}}","x"],"label":0}""";
        Assert.Equal(" " + expected, Single(line, "HellaSwag").Candidates[0].Continuation);
    }

    [Theory]
    [InlineData(Arc, "steam", 3)]
    [InlineData(OldArc, "steam", 2)]
    public void ArcAsksItsQuestion(string line, string answer, int choices)
    {
        var question = Single(line, "ARC");
        Assert.All(question.Candidates, candidate => Assert.Equal("Question: Which is a gas?\nAnswer:", candidate.Context));
        Assert.Equal((choices, " " + answer), (question.Candidates.Count, question.Candidates[question.Answer].Continuation));
    }

    [Fact]
    public void PiqaAsksForTheGoal()
    {
        var question = Single(Piqa, "PIQA");
        Assert.Equal("Question: Open a jar\nAnswer:", question.Candidates[1].Context);
        Assert.Equal([" turn the lid", " turn the table"], question.Candidates.Select(candidate => candidate.Continuation));
        Assert.Equal(0, question.Answer);
    }

    [Fact]
    public void WinoGrandeScoresWhatFollowsTheOption()
    {
        var question = Single(WinoGrande, "WinoGrande");
        Assert.Equal(
            ["The cup did not fit in the bag because the cup", "The cup did not fit in the bag because the bag"],
            question.Candidates.Select(candidate => candidate.Context));
        Assert.All(question.Candidates, candidate => Assert.Equal(" was too big.", candidate.Continuation));
        Assert.Equal(0, question.Answer);
        Assert.Equal("The cup did not fit in the bag because the cup was too big.", question.Example);
    }

    [Fact]
    public void LambadaCompletesTheLastWord()
    {
        var question = Single(Lambada, "LAMBADA");
        Assert.Equal(("She opened the door and saw theü", " sea"), (question.Candidates[0].Context, question.Candidates[0].Continuation));
        Assert.Equal("She opened the door and saw theü  sea", question.Example);
    }

    [Theory]
    [InlineData("3")]
    [InlineData("\"3\"")]
    [InlineData("\"D\"")]
    public void MmluListsItsChoicesAndScoresTheirLetters(string answer)
    {
        var question = Single(Mmlu.Replace("\"answer\":3", $"\"answer\":{answer}", StringComparison.Ordinal), "MMLU");
        Assert.Equal("2 + 2?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:", question.Candidates[0].Context);
        Assert.Equal([" A", " B", " C", " D"], question.Candidates.Select(candidate => candidate.Continuation));
        Assert.Equal(3, question.Answer);
        Assert.Equal("The following are multiple choice questions (with answers) about abstract algebra.\n\n", question.Description);
    }

    [Fact]
    public void PlainLayoutsHaveTheirOwnDelimiter()
    {
        var choice = Single("""{"context":"天","choices":["気","😀😀"],"answer":1,"delimiter":""}""", "choices");
        Assert.Equal(["気", "😀😀"], choice.Candidates.Select(candidate => candidate.Continuation));

        // Characters are those of Unicode, as Python counts them.
        Assert.Equal([1, 2], choice.Candidates.Select(candidate => candidate.Characters));
        var cloze = Single("""{"context":"One and one is","target":"two"}""", "cloze");
        Assert.Equal(("One and one is", " two"), (cloze.Candidates[0].Context, cloze.Candidates[0].Continuation));
    }

    [Fact]
    public void ExamplesOfTheFileStandBeforeTheOtherQuestions()
    {
        var file = Parse(string.Join('\n', Enumerable.Range(0, 4).Select(i => $$"""{"context":"q{{i}}","choices":["a","b"],"answer":{{i % 2}}}""")));
        var prepared = file.Prepare(2, null, 1);
        Assert.Equal("q0 a\n\nq1 b\n\n", Assert.Single(prepared.Questions).Prefix);
        Assert.Equal(("q2", 2), (prepared.Questions[0].Candidates[0].Context, prepared.Shots));
        Assert.Equal(["", "", "", ""], file.Prepare(0, null, null).Questions.Select(question => question.Prefix));
        Assert.Contains("all 4 questions are examples", Assert.Throws<NibbleException>(() => file.Prepare(4, null, null)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ExamplesAreThoseOfTheSubject()
    {
        string Line(string subject, string question) => $$"""{"question":"{{question}}","subject":"{{subject}}","choices":["x","y"],"answer":"B"}""";
        var file = Parse($"{Line("law", "q1")}\n{Line("art", "q2")}");
        var examples = Parse($"{Line("art", "e1")}\n{Line("law", "e2")}\n{Line("law", "e3")}");
        Assert.Equal(
            [
                "The following are multiple choice questions (with answers) about law.\n\ne2\nA. x\nB. y\nAnswer: B\n\n",
                "The following are multiple choice questions (with answers) about art.\n\ne1\nA. x\nB. y\nAnswer: B\n\n",
            ],
            file.Prepare(1, examples, null).Questions.Select(question => question.Prefix));
        Assert.Contains(
            "has 1 questions of the subject 'art', expected at least 2", Assert.Throws<NibbleException>(() => file.Prepare(2, examples, null)).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "has the PIQA layout, expected the one of a, MMLU", Assert.Throws<NibbleException>(() => file.Prepare(1, Parse(Piqa), null)).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "a.jsonl: the file has no lines")]
    [InlineData("[1]", "a.jsonl: line 1 is array, expected a JSON object")]
    [InlineData("{\"a\":1}", "a.jsonl: line 1 has none of the known layouts")]
    [InlineData("{\"text\":\"a b\"", "a.jsonl: line 1 is not JSON")]
    [InlineData("{\"text\":\"a b\"}\n\n{\"context\":\"a\"}", "a.jsonl: line 3 has no 'text', which the LAMBADA layout needs")]
    [InlineData("{\"text\":\"word\"}", "'text' is without a space")]
    [InlineData("{\"text\":\"a \"}", "'text' is text that ends with a space")]
    [InlineData("{\"text\":\"a \\ud800\"}", "line 1 has text that is not Unicode")]
    [InlineData("{\"context\":\"a\",\"choices\":[\"b\"],\"answer\":0}", "'choices' is a list of 1, expected a list of 2 or more")]
    [InlineData("{\"context\":\"a\",\"choices\":[\"b\",2],\"answer\":0}", "'choices[1]' is 2, expected text")]
    [InlineData("{\"context\":\"a\",\"choices\":[\"b\",\"\"],\"answer\":0}", "'choices' is empty at position 2")]
    [InlineData("{\"context\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":2}", "'answer' is 2, expected the number of the correct answer, 0 to 1")]
    [InlineData("{\"context\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":0.5}", "'answer' is 0.5, expected the number")]
    [InlineData("{\"goal\":\"a\",\"sol1\":\"b\",\"sol2\":\"c\"}", "line 1 has no 'label', which the PIQA layout needs")]
    [InlineData("{\"sentence\":\"a\",\"option1\":\"b\",\"option2\":\"c\",\"answer\":\"1\"}", "'sentence' is without a gap")]
    [InlineData("{\"sentence\":\"a _\",\"option1\":\"b\",\"option2\":\"c\",\"answer\":\"1\"}", "'sentence' is without text after the gap")]
    [InlineData("{\"sentence\":\"a _ b\",\"option1\":\"b\",\"option2\":\"c\",\"answer\":\"\"}", "'answer' is \"\", expected the number of the correct answer, 1 to 2")]
    [InlineData("{\"question\":\"a\",\"choices\":{\"text\":[\"b\"],\"label\":[\"A\"]},\"answerKey\":\"B\"}", "'answerKey' is \"B\", expected one of A")]
    [InlineData("{\"question\":\"a\",\"choices\":{\"text\":[\"b\"],\"label\":[]},\"answerKey\":\"B\"}", "'choices.label' is a list of 0")]
    [InlineData("{\"question\":{\"choices\":[]},\"answerKey\":\"B\"}", "'question.choices' is a list of 0")]
    [InlineData("{\"question\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":\"C\"}", "'answer' is \"C\", expected one of A, B")]
    public void AWrongLineIsRefusedWithItsPlace(string text, string message) =>
        Assert.Contains(message, Assert.Throws<NibbleException>(() => Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void AMutatedFileIsReadOrRefused()
    {
        byte[][] valid = [.. ((string[])[HellaSwag, Arc, OldArc, Piqa, WinoGrande, Lambada, Mmlu]).Select(line => Encoding.UTF8.GetBytes($"{line}\n{line}"))];
        byte[][] pieces = [.. ((string[])["[", "]", "{", "}", ",", "\"label\"", ":", "1e400", "-1", "null", "true", "\\uD800", "\n", "_", " "]).Select(Encoding.ASCII.GetBytes)];
        var read = 0;
        Gen.Select(Gen.Int[0, valid.Length - 1], Mutations.Any).Sample(
            (index, mutations) =>
            {
                try
                {
                    // Text as InputFile decodes it, which refuses bytes that are not UTF-8.
                    Assert.NotEmpty(Parse(Encoding.UTF8.GetString(mutations.Of(valid[index], pieces))).Questions);
                    Interlocked.Increment(ref read);
                }
                catch (NibbleException)
                {
                    // What is broken is refused.
                }
            },
            iter: 20_000);
        Assert.InRange(read, 100, 19_900);
    }

    [Fact]
    public void AFolderAndAMissingFileAreRefused()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("is a folder", Assert.Throws<NibbleException>(() => QuestionFile.Read(folder.Path)).Message, StringComparison.Ordinal);
        Assert.Contains("no such task file", Assert.Throws<NibbleException>(() => QuestionFile.Read(folder.File("none"))).Message, StringComparison.Ordinal);
        Assert.Equal("piqa", QuestionFile.Read(folder.Write("piqa.jsonl", Piqa)).Name);
    }

    private static Question Single(string line, string layout)
    {
        var file = Parse(line);
        Assert.Equal(layout, file.Layout.Name);
        return Assert.Single(file.Questions);
    }

    private static QuestionFile Parse(string text) => QuestionFile.Parse(text, "a.jsonl");
}
