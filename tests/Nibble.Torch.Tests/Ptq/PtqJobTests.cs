using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Ptq;

public sealed class PtqJobTests : IDisposable
{
    private static readonly Dictionary<string, string> Identity = new() { ["recipe"] = "a", ["seed"] = "1" };
    private static readonly string[] Streams = ["inputs", "floats"];

    private readonly TemporaryFolder folder = new();

    private string Output => folder.File("out");

    public void Dispose() => folder.Dispose();

    [Fact]
    public void FirstUnfinishedIsTheFirstPartThatIsMissingWhoseInputsAreThere()
    {
        using var job = Begin();
        Assert.Equal(0, job.FirstUnfinished(Streams, 3));

        AddStreams(job, 0);
        AddPart(job, 0);
        Assert.Equal(0, job.FirstUnfinished(Streams, 3));
        Assert.Equal(1, job.FirstUnfinished([], 3));

        File.WriteAllText(job.Stream("inputs", 1), "x");
        Assert.Equal(0, job.FirstUnfinished(Streams, 3));
        AddStreams(job, 1);
        Assert.Equal(1, job.FirstUnfinished(Streams, 3));

        // Killed between the part and what goes into the next one.
        AddPart(job, 1);
        Assert.Equal(1, job.FirstUnfinished(Streams, 3));

        // Nothing goes into what stands behind the last part.
        AddPart(job, 2);
        Assert.Equal(3, job.FirstUnfinished(Streams, 3));

        // A part behind a gap counts for nothing.
        Directory.Delete(job.Part(1), recursive: true);
        Assert.Equal(1, job.FirstUnfinished(Streams, 3));
    }

    [Fact]
    public void FirstUnfinishedGoesBackToTheBeginningWhenNoStreamIsLeft()
    {
        using var job = Begin();
        AddPart(job, 0);
        AddPart(job, 1);
        Assert.Equal(0, job.FirstUnfinished(Streams, 3));
        Assert.Equal(2, job.FirstUnfinished(Streams, 2));
    }

    [Fact]
    public void DiscardKeepsTheFinishedPartsAndWhatGoesIntoTheNext()
    {
        using var job = Begin();
        for (var part = 0; part < 3; part++)
        {
            AddPart(job, part);
            AddStreams(job, part);
        }

        Directory.CreateDirectory(job.Part(3) + ".tmp-123");
        File.WriteAllText(job.Stream("inputs", 1) + ".tmp", "half");
        job.Discard(Streams, 1);
        Assert.Equal(["floats-001.bin", "inputs-001.bin", "job.json", "lock", "part-000"], Entries());
    }

    [Fact]
    public void BeginRefusesAnotherJobAndNamesWhatDiffers()
    {
        Begin().Dispose();
        var message = Assert.Throws<NibbleException>(
            () => new PtqJob(Output, new Dictionary<string, string> { ["recipe"] = "b", ["seed"] = "1", ["device"] = "cpu" }, restart: false)).Message;
        Assert.Equal($"{Output}.job holds an interrupted run of another job: it differs in recipe, device. Rerun that job to resume it, or start over",
            message);
    }

    [Theory]
    [InlineData("paper.tex", "a user's own work")]
    [InlineData("job.json", "{")]
    [InlineData("job.json", "")]
    [InlineData("job.json", "null")]
    [InlineData("job.json", "[1]")]
    [InlineData("job.json", """{"recipe":"a","seed":"1"}""")]
    [InlineData("job.json", """{"Format":"nibble.job/1","State":"Unfinished","Values":{"recipe":null}}""")]
    [InlineData("job.json", """{"Format":"nibble.job/1","State":"7","Values":{}}""")]
    [InlineData("job.json", """{"Format":"acme.job/1","State":"Unfinished","Values":{"recipe":"a","seed":"1"}}""")]
    [InlineData("joined.json", """{"Format":"nibble.job/1","State":"Joined","Values":{}}""")]
    [InlineData("lock", "not empty")]
    [InlineData("part-000/notes", "kept")]
    public void BeginTouchesNothingInAFolderOfSomebodyElse(string name, string content)
    {
        var file = Path.Combine(Output + ".job", name);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, content);
        foreach (var restart in (bool[])[false, true])
        {
            var message = Assert.Throws<NibbleException>(() => new PtqJob(Output, Identity, restart)).Message;
            Assert.Equal(
                $"{Output}.job is the folder for unfinished work, but it does not belong to Nibble: it has no valid job.json. "
                + "Nothing in it was changed. Move the folder, or choose another name for the output",
                message);
        }

        Assert.Throws<NibbleException>(() => OutputJob.RequirePlace(Output));
        Assert.False(OutputJob.IsJoined(Output));
        Assert.Equal([file], Directory.EnumerateFiles(Output + ".job", "*", SearchOption.AllDirectories));
        Assert.Equal(content, File.ReadAllText(file));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BeginTakesOverWhatIsLeftOfADeletedJob(bool locked)
    {
        Directory.CreateDirectory(Output + ".job");
        if (locked)
        {
            File.WriteAllText(Path.Combine(Output + ".job", "lock"), string.Empty);
        }

        using var job = Begin();
        Assert.Equal(["job.json", "lock"], Entries());
    }

    [Fact]
    public void BeginMakesTheFolderWithItsIdentityOrNotAtAll()
    {
        File.WriteAllText(Output + ".job", "a file of the user's");
        Assert.Throws<NibbleException>(Begin);
        Assert.Equal(["out.job"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
        Assert.Equal("a file of the user's", File.ReadAllText(Output + ".job"));
    }

    [Fact]
    public void NothingIsDeletedThatTheJobHasNotWritten()
    {
        string[] others = ["notes.txt", "outputs-001.bin", "part-1", "part-000.old", "artifact.tar", "inputs-001.bin.gz"];
        using (var job = Begin())
        {
            AddPart(job, 0);
            AddStreams(job, 1);
            Array.ForEach(others, name => File.WriteAllText(job.At(name), name));
            job.Discard(Streams, 0);
            Assert.Equal([.. others.Append("job.json").Append("lock").Order(StringComparer.Ordinal)], Entries());
        }

        using (new PtqJob(Output, Identity, restart: true))
        {
            Assert.Equal([.. others.Append("job.json").Append("lock").Order(StringComparer.Ordinal)], Entries());
        }

        using (var job = Begin())
        {
            job.Join(Write);
            job.Finish(Output);
        }

        Assert.Equal(others.Order(StringComparer.Ordinal), Entries());
        Assert.All(others, name => Assert.Equal(name, File.ReadAllText(Path.Combine(Output + ".job", name))));
        Assert.True(Directory.Exists(Output));
    }

    [Fact]
    public void RestartThatIsKilledLeavesNothingThatCouldBeTakenForFinishedWork()
    {
        using (var job = Begin())
        {
            AddPart(job, 0);
            AddPart(job, 1);
        }

        // Killed when the first part was gone.
        new JobIdentity(JobState.Cleared, Identity).Write(Output + ".job");
        Directory.Delete(Path.Combine(Output + ".job", "part-000"));
        using (var job = Begin())
        {
            Assert.Equal(["job.json", "lock"], Entries());
            AddPart(job, 0);
        }

        using (var job = Begin())
        {
            Assert.Equal(1, job.FirstUnfinished([], 3));
        }
    }

    [Fact]
    public void RequireIntactFindsAChangedFile()
    {
        using var job = Begin();
        AddPart(job, 0);
        var file = Path.Combine(job.Part(0), "model.safetensors");
        File.WriteAllText(file, "codes");
        Nibble.Files.FolderChecksums.Write(job.Part(0));
        job.RequireIntact(1);
        File.WriteAllText(file, "c0des");
        Assert.Equal(
            $"{file} is damaged: its checksum is not the one in checksums.txt next to it; the work cannot be resumed from it: start over",
            Assert.Throws<Nibble.Files.DamagedFileException>(() => job.RequireIntact(1)).Message);
    }

    [Fact]
    public void BeginGoesOnWithTheSameJobAndStartsOverWhenTold()
    {
        using (var job = Begin())
        {
            AddPart(job, 0);
        }

        using (var job = Begin())
        {
            Assert.True(Directory.Exists(job.Part(0)));
        }

        using (new PtqJob(Output, new Dictionary<string, string> { ["recipe"] = "b" }, restart: true))
        {
            Assert.Equal(["job.json", "lock"], Entries());
        }
    }

    [Fact]
    public void BeginRefusesAFolderThatIsWorkedIn()
    {
        using (Begin())
        {
            Assert.StartsWith($"{Output}.job: another run is using this folder", Assert.Throws<NibbleException>(Begin).Message, StringComparison.Ordinal);
        }

        Begin().Dispose();
    }

    [Fact]
    public void FinishMovesWhatWasJoinedAndLeavesNothingElse()
    {
        using var job = Begin();
        AddPart(job, 0);
        AddStreams(job, 0);
        Directory.CreateDirectory(Path.Combine(Output + ".job", "artifact"));
        Assert.False(OutputJob.IsJoined(Output));
        job.Join(Write);
        Assert.True(job.Joined);
        job.Finish(Output);
        Assert.Equal(["out"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
        Assert.Equal("whole", File.ReadAllText(Path.Combine(Output, "model")));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void FinishIsMadeUpForByTheNextRun(bool moved)
    {
        using (var job = Begin())
        {
            AddPart(job, 0);
            job.Join(Write);
        }

        if (moved)
        {
            Directory.Move(Path.Combine(Output + ".job", "artifact"), Output);
        }

        Assert.True(OutputJob.IsJoined(Output));
        Assert.Throws<NibbleException>(() => new PtqJob(Output, new Dictionary<string, string> { ["recipe"] = "b" }, restart: false));
        using (var job = Begin())
        {
            Assert.True(job.Joined);
            job.Finish(Output);
        }

        Assert.Equal(["out"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
        Assert.Equal("whole", File.ReadAllText(Path.Combine(Output, "model")));
    }

    private static void Write(string path)
    {
        Assert.False(Directory.Exists(path));
        Directory.CreateDirectory(path);
        File.WriteAllText(Path.Combine(path, "model"), "whole");
    }

    private static void AddPart(PtqJob job, int number) => Directory.CreateDirectory(job.Part(number));

    private static void AddStreams(PtqJob job, int part) => Array.ForEach(Streams, name => File.WriteAllText(job.Stream(name, part), "x"));

    private PtqJob Begin() => new PtqJob(Output, Identity, restart: false);

    private IEnumerable<string?> Entries() => Directory.EnumerateFileSystemEntries(Output + ".job").Select(Path.GetFileName).Order(StringComparer.Ordinal);
}
