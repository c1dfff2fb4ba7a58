using System.Text;

namespace Nibble.Cli.Tests.Commands;

/// <summary>What commands are asked to write is tried before their work, nothing of others is replaced or deleted, and what is done is printed.</summary>
[Collection(OneAtATime.Name)]
public sealed class OutputPlaceTests : IDisposable
{
    private const string Theirs = "<html><head><title>My report</title></head></html>";
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("ptq MODEL -r w4a16-g32 -o results")]
    [InlineData("ptq MODEL -r w4a16-g32 -o results --restart")]
    [InlineData("ptq MODEL -r w4a16-g32 -o results/ --restart")]
    [InlineData("ptq MODEL -r w4a16-g32-gptaq -d self -o results --dry-run")]
    [InlineData("qat MODEL -r w4a16-g32 -d TEXT --steps 1 -o results --restart")]
    public async Task AFolderOfTheUsersBesideTheOutputIsLeftAlone(string command)
    {
        Directory.CreateDirectory(folder.At("results.job/paper"));
        folder.Write("results.job/paper/draft.tex", "mine");
        folder.Write("results.job/job.json", """{"recipe":"mine"}""");

        await Refuses(command, $"{folder.At("results.job")} is the folder for unfinished work, but it does not belong to Nibble");
    }

    /// <summary>Each output of each command, at a place where it cannot be written; models, files and engines come later, and are not even there.</summary>
    [Theory]
    [InlineData("mix no-model --budget 3bits -d no-text -o PLACE.yaml")]
    [InlineData("mix no-model --budget 3bits -d no-text -o mixed.yaml --report PLACE.html")]
    [InlineData("mix no-model --budget 3bits -d no-text -o mixed.yaml --cache PLACE")]
    [InlineData("sensitivity no-model -d no-text --cache PLACE")]
    [InlineData("sensitivity no-model -d no-text -o PLACE")]
    [InlineData("advise no-model -d no-text -o PLACE")]
    [InlineData("compare no-model -d no-text -e no-text -o PLACE")]
    [InlineData("ptq no-model -r w4a16-g32 -o PLACE")]
    [InlineData("qat no-model -r w4a16-g32 -d no-text -o PLACE")]
    [InlineData("qat no-model -r w4a16-g32 -d no-text -o out --report PLACE.html")]
    [InlineData("qat no-model -r w4a16-g32 -d no-text -o out --teacher-cache PLACE")]
    [InlineData("bench no-file.gguf --report PLACE.html")]
    [InlineData("export no-model --to gguf -o PLACE.gguf")]
    [InlineData("export no-model --to onnx -o PLACE.onnx")]
    [InlineData("export no-model --to gptq -o PLACE")]
    [InlineData("import no-model -o PLACE")]
    [InlineData("imatrix no-model -d no-text -o PLACE.gguf")]
    [InlineData("quantize no-file.gguf --type q4_0 -o PLACE.gguf")]
    public async Task AnOutputThatCannotBeWrittenIsRefusedBeforeTheWork(string command)
    {
        // A file in the place of a folder stops everybody, root too.
        folder.Write("blocked", "a file");
        await Refuses(command.Replace("PLACE", "blocked/deeper/out", StringComparison.Ordinal), folder.At("blocked"));
    }

    [Theory]
    [InlineData("mix no-model --budget 3bits -d no-text -o PLACE.yaml")]
    [InlineData("mix no-model --budget 3bits -d no-text -o mixed.yaml --report PLACE.html")]
    [InlineData("qat no-model -r w4a16-g32 -d no-text -o out --report PLACE.html")]
    [InlineData("bench no-file.gguf --report PLACE.html")]
    [InlineData("export no-model --to gguf -o PLACE.gguf")]
    [InlineData("imatrix no-model -d no-text -o PLACE.gguf")]
    [InlineData("quantize no-file.gguf --type q4_0 -o PLACE.gguf")]
    public Task AFileInAFolderThatIsMissingIsRefusedBeforeTheWork(string command) =>
        Refuses(
            command.Replace("PLACE", "no/such/out", StringComparison.Ordinal),
            $"there is no folder {folder.At("no/such")}; create it first, or give another name");

    [Theory]
    [InlineData("mix no-model --budget 3bits -d no-text -o PLACE.yaml", "yaml")]
    [InlineData("mix no-model --budget 3bits -d no-text -o PLACE.json", "html")]
    [InlineData("mix no-model --budget 3bits -d no-text -o mixed.yaml --report PLACE.html", "html")]
    [InlineData("qat no-model -r w4a16-g32 -d no-text -o out --report PLACE.html", "html")]
    [InlineData("bench no-file.gguf --report PLACE.html", "html")]
    [InlineData("export no-model --to gguf -o PLACE.gguf", "gguf")]
    [InlineData("export no-model --to onnx -o PLACE.onnx", "onnx")]
    [InlineData("export no-model --to onnx -o PLACE.onnx", "onnx.data")]
    [InlineData("imatrix no-model -d no-text -o PLACE.gguf", "gguf")]
    [InlineData("quantize no-file.gguf --type q4_0 -o PLACE.gguf", "gguf")]
    public async Task AFileOfOthersIsRefusedBeforeTheWorkEvenALinkThatLeadsNowhere(string command, string extension)
    {
        var file = folder.Write($"theirs.{extension}", Theirs);
        command = command.Replace("PLACE", "theirs", StringComparison.Ordinal);
        await Refuses(command, file);

        File.Delete(file);
        File.CreateSymbolicLink(file, folder.At("nowhere"));
        await Refuses(command, file);
        Assert.Equal(folder.At("nowhere"), new FileInfo(file).LinkTarget);
    }

    [Fact]
    public async Task TheReportAndTheOutputMustNotHaveOneName() =>
        await Refuses("qat no-model -r w4a16-g32 -d no-text -o out --report out", "the report and the output have the same name");

    [Fact]
    public async Task ComparingWithoutAnOutputReplacesItsOwnReportAndNoOther()
    {
        var report = folder.Write("report.html", Theirs);
        var command = Words("compare MODEL -d TEXT -e TEXT --bits 4 --steps 1 --windows 1 --threads 1");
        var refused = await ChildProcess.Run(folder.Root, command);
        Assert.Equal(ExitCode.BadInput, refused.ExitCode);
        Assert.Contains("report.html exists already and is not a report that Nibble wrote, so it is not replaced", refused.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("float", refused.Error, StringComparison.Ordinal);
        Assert.Equal(Theirs, await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken));

        File.Delete(report);
        for (var i = 0; i < 2; i++)
        {
            var made = await ChildProcess.Run(folder.Root, [.. command, "--seed", $"{i + 1}"]);
            Assert.True(made.ExitCode == ExitCode.Done, made.Error);
            Assert.Contains($"--seed {i + 1}", await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task AReportMayGoIntoTheFolderThatTheCommandMakes()
    {
        await CommandRun.Succeeds(Words("qat MODEL -r w4a16-g32 -d TEXT --steps 1 -o out --report out/report.html"));
        var report = await File.ReadAllTextAsync(folder.At("out/report.html"), TestContext.Current.CancellationToken);
        Assert.StartsWith("<!DOCTYPE html>", report, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatATrainingHasMadeIsPrintedThoughItsReportCannotBeWritten()
    {
        using var child = ChildProcess.Start(folder.Root, Words("qat MODEL -r w4a16-g32 -d TEXT --steps 40 -o out --report report.html --threads 1"));
        await child.ReadErrorUntil("train 1/");
        folder.Write("report.html", Theirs);
        var (output, error) = await child.Finish();
        Assert.Equal(ExitCode.BadInput, child.ExitCode);
        Assert.StartsWith($"{folder.At("out")}: 7 layers by qat w4a16-g32", output, StringComparison.Ordinal);
        Assert.Contains("report.html exists already and is not a report that Nibble wrote, so it is not replaced", error, StringComparison.Ordinal);
        Assert.Equal(Theirs, await File.ReadAllTextAsync(folder.At("report.html"), TestContext.Current.CancellationToken));
        Assert.True(File.Exists(folder.At("out/nibble.json")));
    }

    [Fact]
    public async Task WhatAComparisonHasMeasuredIsPrintedAndItsArtifactsAreKeptThoughTheFolderWasTaken()
    {
        using var child = ChildProcess.Start(folder.Root, Words("compare MODEL -d TEXT -e TEXT --bits 4 --steps 20 --windows 1 --threads 1 -o out"));
        await child.ReadErrorUntil("float control: train");
        Directory.CreateDirectory(folder.At("out"));
        folder.Write("out/mine", "mine");
        var (output, error) = await child.Finish();
        Assert.Equal(ExitCode.BadInput, child.ExitCode);
        Assert.Contains("ptq w4a16-g32-gptaq", output, StringComparison.Ordinal);
        Assert.DoesNotContain("report: ", output, StringComparison.Ordinal);
        var kept = folder.At("out.job/artifact");
        Assert.Contains($"the artifacts are kept in {kept}", error, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(kept, "qat-w4a16-g32", "nibble.json")));
        Assert.Equal([folder.At("out/mine")], Directory.EnumerateFileSystemEntries(folder.At("out")));
    }

    [Fact]
    public void AllStepsOfADeliveryAreTakenAndTheFirstFailureIsTold()
    {
        var told = new StringBuilder();
        var failure = Assert.Throws<IOException>(() => CommandHost.Deliver(
            () => told.Append('a'),
            () => throw new IOException("first"),
            () => throw new InvalidOperationException("second"),
            () => told.Append('b')));
        Assert.Equal(("first", "ab"), (failure.Message, told.ToString()));
    }

    /// <summary>Runs a command that must fail and change nothing.</summary>
    private async Task Refuses(string command, string expected)
    {
        var before = folder.Content();
        var run = await CommandRun.Of(Words(command));
        Assert.True(run.ExitCode == ExitCode.BadInput, $"{run.ExitCode}: {run.Error}");
        Assert.Contains(expected, run.Error, StringComparison.Ordinal);
        Assert.Empty(run.Output);
        Assert.Equal(before, folder.Content());
    }

    /// <summary>A command line, in which paths are those of the folder.</summary>
    private string[] Words(string command)
    {
        var words = command.Split(' ');
        return [.. words.Select((word, i) => word switch
        {
            "MODEL" => folder.Model,
            "TEXT" => folder.TrainingText,
            _ when i > 0 && words[i - 1] is "-o" or "--report" or "--cache" or "--teacher-cache" => folder.At(word),
            _ => word,
        })];
    }
}
