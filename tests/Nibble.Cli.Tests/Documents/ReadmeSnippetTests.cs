using Nibble.Cli.Tests.Commands;

namespace Nibble.Cli.Tests.Documents;

[Collection(OneAtATime.Name)]
public class ReadmeSnippetTests
{
    [Fact]
    public void Runs()
    {
        using var tiny = new TinyFolder();

        var compared = ReadmeSnippet.Run(tiny.Model, tiny.TrainingText, tiny.At("out"));

        Assert.InRange(compared.Quantized.Agreement!.Value, 0.5, 1);
    }

    [Fact]
    public void StandsInTheREADME()
    {
        var source = File.ReadAllLines(Path.Combine(Document.Root, "tests", "Nibble.Cli.Tests", "Documents", "ReadmeSnippet.cs"));

        // These tests stand inside of the namespace that others have to name.
        var usings = source.Where(line => line.StartsWith("using ", StringComparison.Ordinal)).Prepend("using Nibble;");
        var code = source
            .SkipWhile(line => line.Trim() != "// README begins").Skip(1).TakeWhile(line => line.Trim() != "// README ends")
            .Select(line => line.Length > 8 ? line[8..] : string.Empty);

        Assert.Equal(string.Join('\n', usings.Append(string.Empty).Concat(code)) + "\n", Document.Read("README.md").Block("csharp"));
    }
}
