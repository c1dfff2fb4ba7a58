using System.Text.Json;
using Nibble.Cli.Comparison;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble eval --tasks</c>.</summary>
[Collection(OneAtATime.Name)]
public sealed class EvalTasksTests : IDisposable
{
    private const string Animals =
        """
        {"context":"The fox sat down in the","choices":["sun","river to rest"],"answer":0}

        {"context":"The river was","choices":["fox","cold"],"answer":"1"}
        {"context":"The fox ran to the","choices":["river","down"],"answer":0}
        """;

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task DifferencesFromAReferenceArePaired()
    {
        var stories = folder.Write("stories.jsonl", StoryQuestions.Of(BuiltInModel.EvaluationText, 40));
        var words = folder.Write("words.jsonl", string.Join('\n', Enumerable.Range(0, 12).Select(i => $$"""{"text":"Once upon a time there was a {{(i % 2 == 0 ? "little" : "big")}} fox"}""")));
        await CommandRun.Succeeds("ptq", BuiltInModel.Folder, "-r", "w2a16-g32", "-o", folder.At("w2"));
        string[] tasks = ["--tasks", stories, "--tasks", words, "--threads", "1", "--json"];
        var own = (await CommandRun.Succeeds(["eval", folder.At("w2"), .. tasks])).Json;
        var reference = (await CommandRun.Succeeds(["eval", BuiltInModel.Folder, .. tasks])).Json;
        var both = (await CommandRun.Succeeds(["eval", folder.At("w2"), "--reference", BuiltInModel.Folder, .. tasks])).Json;

        Assert.Equal(("nibble.eval-tasks/1", "w2", "nibble", 0),
            (Text(both, "schema"), Text(both, "model"), Text(both, "engine"), both.GetProperty("shots").GetInt32()));
        Assert.Equal(["choices", "LAMBADA"], both.GetProperty("tasks").EnumerateArray().Select(task => Text(task, "layout")));
        Assert.Equal([("stories", 40), ("words", 12)], both.GetProperty("tasks").EnumerateArray().Select(task => (Text(task, "task"), task.GetProperty("questions").GetInt32())));
        Assert.Equal(["acc", "acc_norm", "acc", "perplexity"], Metrics(both).Select(metric => Text(metric, "name")));
        Assert.All(Metrics(both).Zip(Metrics(own), Metrics(reference)), metric =>
        {
            var (joint, alone, theirs) = metric;
            Assert.Equal(alone.GetProperty("value").GetDouble(), joint.GetProperty("value").GetDouble());
            Assert.Equal(alone.GetProperty("error").GetDouble(), joint.GetProperty("error").GetDouble());
            Assert.Equal(theirs.GetProperty("value").GetDouble(), joint.GetProperty("reference").GetDouble());
            Assert.Equal(theirs.GetProperty("error").GetDouble(), joint.GetProperty("referenceError").GetDouble());
            Assert.Equal(alone.GetProperty("value").GetDouble() - theirs.GetProperty("value").GetDouble(), joint.GetProperty("difference").GetDouble(), 1e-9);
            Assert.Equal(JsonValueKind.Null, alone.GetProperty("difference").ValueKind);
        });

        // At 2 bits, some answers change.
        Assert.InRange(both.GetProperty("tasks")[0].GetProperty("agreement").GetDouble(), 0.2, 0.99);

        var text = await CommandRun.Succeeds("eval", folder.At("w2"), "--reference", BuiltInModel.Folder, "--tasks", stories, "--threads", "1");
        Assert.Contains("same answers", text.Output, StringComparison.Ordinal);
        Assert.Contains("differences from model on the same questions", text.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnONNXFileScoresWhatTheSimulationScores()
    {
        var animals = folder.Write("animals.jsonl", Animals);
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("exported/model.onnx"));
        var simulated = await Eval(folder.Model, "nibble", animals);
        Assert.Equal(simulated, await Eval(folder.At("exported"), "onnxruntime", animals));
        Assert.Equal(simulated, await Eval(folder.Model, "onnxruntime", animals, "--engine", "onnxruntime"));
        Assert.Equal(simulated, await Eval(folder.At("exported"), "nibble", animals, "--engine", "nibble"));
        var shot = folder.Write("shot.jsonl", Animals.Split('\n')[0]);
        Assert.Equal(await Eval(folder.Model, "nibble", animals, "--shots", "1", "--examples", shot),
            await Eval(folder.At("exported"), "onnxruntime", animals, "--shots", "1", "--examples", shot));
    }

    [Fact]
    public async Task AGGUFFileScoresWhatTheSimulationScores()
    {
        LlamaCpp.RequireFolder();
        var stories = folder.Write("stories.jsonl", StoryQuestions.Of(BuiltInModel.EvaluationText, 12));
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "--type", "f32", "-o", folder.At("story.gguf"));
        var simulated = await Eval(BuiltInModel.Folder, "nibble", stories);
        Assert.Equal(simulated, await Eval(folder.At("story.gguf"), "llama.cpp", stories));
        Assert.Equal(simulated, await Eval(BuiltInModel.Folder, "llama.cpp", stories, "--engine", "llama.cpp"));

        var compared = await CommandRun.Succeeds(
            "eval", folder.At("story.gguf"), "--tasks", stories, "--reference", BuiltInModel.Folder, "--threads", "1", "--json");
        Assert.Equal(1, compared.Json.GetProperty("tasks")[0].GetProperty("agreement").GetDouble());
        Assert.Equal("llama.cpp", Text(compared.Json, "engine"));
    }

    [Fact]
    public async Task ExamplesAndLimitsChangeWhatIsAsked()
    {
        var animals = folder.Write("animals.jsonl", Animals);
        async Task<JsonElement> Run(params string[] more) =>
            (await CommandRun.Succeeds(["eval", folder.Model, "--tasks", animals, "--threads", "1", "--json", .. more])).Json;
        int Questions(JsonElement document) => document.GetProperty("tasks")[0].GetProperty("questions").GetInt32();
        Assert.Equal(3, Questions(await Run()));
        Assert.Equal(2, Questions(await Run("--limit", "2")));
        Assert.Equal(2, Questions(await Run("--windows", "2")));
        Assert.Equal((2, 1), (Questions(await Run("--shots", "1")), (await Run("--shots", "1")).GetProperty("shots").GetInt32()));
        Assert.Equal((1, 3), (Questions(await Run("--shots", "1", "--limit", "1")), Questions(await Run("--shots", "2", "--examples", animals))));

        // Two examples do not fit into 64 tokens of this model's vocabulary.
        var cut = await CommandRun.Succeeds("eval", folder.Model, "--tasks", folder.Write(
            "long.jsonl", $$"""{"context":"{{new string('x', 80)}}","choices":["a","b"],"answer":0}"""), "--threads", "1");
        Assert.Contains("long: the context of 1 of 1 questions is longer than the model's and was cut at its start", cut.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CompareJudgesByQuestions()
    {
        var stories = folder.Write("stories.jsonl", StoryQuestions.Of(BuiltInModel.EvaluationText, 30));
        var words = folder.Write("words.jsonl", string.Join('\n', Enumerable.Range(0, 10).Select(i => $$"""{"text":"Once upon a time there was a {{i}} fox"}""")));
        string[] compare =
        [
            "compare", BuiltInModel.Folder, "--data", BuiltInModel.TrainingText, "--tasks", stories, "--tasks", words, "--bits", "2", "--algorithms", "rtn",
            "--steps", "1", "--threads", "1",
        ];
        var run = await CommandRun.Succeeds([.. compare, "--json", "-o", folder.At("out")]);
        var (evaluation, baseline) = (run.Json.GetProperty("evaluation"), run.Json.GetProperty("baseline"));
        Assert.Equal(("points", "questions", 40, "stories + words"),
            (Text(run.Json, "lossUnit"), Text(evaluation, "unit"), evaluation.GetProperty("count").GetInt32(), Text(evaluation, "name")));
        Assert.Equal(JsonValueKind.Null, evaluation.GetProperty("context").ValueKind);
        Assert.Equal(["accuracy", "stories/acc", "stories/acc_norm", "words/acc", "words/perplexity"],
            baseline.GetProperty("metrics").EnumerateObject().Select(metric => metric.Name).Order(StringComparer.Ordinal));

        // The same artifact has the same scores by itself.
        var item = run.Json.GetProperty("runs").EnumerateArray().Single(item => Text(item, "method") == "ptq");
        var eval = (await CommandRun.Succeeds(
            "eval", folder.At("out/ptq-w2a16-g32-rtn"), "--reference", BuiltInModel.Folder, "--tasks", stories, "--tasks", words, "--threads", "1", "--json")).Json;
        var values = Metrics(eval).ConvertAll(metric => metric.GetProperty("value").GetDouble());
        var agreements = eval.GetProperty("tasks").EnumerateArray().Select(task => task.GetProperty("agreement").GetDouble()).ToList();
        Assert.Equal(values[1], item.GetProperty("metrics").GetProperty("stories/acc_norm").GetDouble());
        Assert.Equal((values[1] + values[2]) / 2, item.GetProperty("quality").GetDouble(), 1e-9);
        Assert.Equal(100 * (baseline.GetProperty("quality").GetDouble() - item.GetProperty("quality").GetDouble()), item.GetProperty("lossDifference").GetDouble(), 1e-9);
        Assert.Equal(((30 * agreements[0]) + (10 * agreements[1])) / 40, item.GetProperty("agreement").GetDouble(), 1e-9);

        // The report is made from the document alone.
        File.Delete(folder.At("out/report.html"));
        await CommandRun.Succeeds("report", folder.At("out"));
        var report = await File.ReadAllTextAsync(folder.At("out/report.html"), TestContext.Current.CancellationToken);
        Assert.Contains("same answers", report, StringComparison.Ordinal);
        Assert.Contains("The share of questions whose most likely answer is correct", report, StringComparison.Ordinal);
        var again = await CommandRun.Of(["compare", .. compare[1..6], "--tasks", stories, "-o", folder.At("twice")]);
        Assert.Contains("two task files are named stories", again.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatCannotBeScoredIsRefused()
    {
        var broken = folder.Write("broken.jsonl", Animals + "\n{\"context\":\"a\",\"choices\":[\"b\"],\"answer\":0}");
        await Refuses(ExitCode.BadInput, $"{broken}: line 5: 'choices' is a list of 1, expected a list of 2 or more", "--tasks", broken);
        await Refuses(ExitCode.BadInput, "no such task file", "--tasks", folder.At("none.jsonl"));
        var animals = folder.Write("animals.jsonl", Animals);
        await Refuses(ExitCode.BadInput, $"There is no folder or file {folder.At("none")}.", "--tasks", animals, "--reference", folder.At("none"));
        await Refuses(ExitCode.BadInput, "all 3 questions are examples", "--tasks", animals, "--shots", "3");
        await Refuses(ExitCode.Usage, "--engine-path has no effect here: it is for llama.cpp, and the engine is nibble", "--tasks", animals, "--engine-path", "x");
        await Refuses(ExitCode.Usage, "--tokenizer has no effect here: it is for ONNX Runtime, and the engine is nibble", "--tasks", animals, "--tokenizer", "x");

        async Task Refuses(int code, string message, params string[] arguments)
        {
            var run = await CommandRun.Of(["eval", folder.Model, .. arguments]);
            Assert.Contains(message, run.Error, StringComparison.Ordinal);
            Assert.Equal(code, run.ExitCode);
            Assert.Empty(run.Output);
        }
    }

    /// <summary>The scores without what differs by rounding: accuracies, and the number of questions.</summary>
    private static async Task<string> Eval(string model, string engine, string tasks, params string[] more)
    {
        var document = (await CommandRun.Succeeds(["eval", model, "--tasks", tasks, "--threads", "1", "--json", .. more])).Json;
        Assert.Equal(engine, Text(document, "engine"));
        return document.GetProperty("tasks").GetRawText();
    }

    private static List<JsonElement> Metrics(JsonElement document) =>
        [.. document.GetProperty("tasks").EnumerateArray().SelectMany(task => task.GetProperty("metrics").EnumerateArray())];

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString()!;
}
