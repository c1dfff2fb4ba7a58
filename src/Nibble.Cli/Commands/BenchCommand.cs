using System.CommandLine;
using Nibble.Cli.Comparison;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble bench</c>: how fast an exported file is in its engine, alone or beside float.</summary>
internal static class BenchCommand
{
    private const int UsualPrompt = 256;
    private const int UsualTokens = 64;
    private const int UsualRepeats = 5;

    public static Command Create(CommandHost host)
    {
        var file = new Argument<string>("FILE") { Description = "An exported file: a GGUF file, which llama.cpp runs, or an ONNX file or its folder, which ONNX Runtime runs." };
        var against = new Option<string?>("--against") { Description = "The float model's exported file, to say how many times faster or slower FILE is." };
        var prompt = NumberOptions.AtLeast("--prompt-tokens", 1, $"Tokens of the prompt, computed at once; {UsualPrompt} when not given.");
        var tokens = NumberOptions.AtLeast("--tokens", 1, $"Tokens behind the prompt, computed one after the other; {UsualTokens} when not given.");
        var repeats = NumberOptions.AtLeast("--repeats", 1, $"Measurements of each file, each in a process of its own, after a warm-up; {UsualRepeats} when not given.");
        var libraries = EngineOptions.LibrariesFolder();
        var threads = NumberOptions.AtLeast(CommonOptions.ThreadsName, 1, "Threads of the engine; all cores when not given.");
        var report = new Option<string?>("--report") { Description = "An HTML file to write the figures to as well." };
        var json = CommonOptions.Json();
        var command = new Command("bench", "Measure an exported file in its engine: load time, memory, tokens a second of prompt and generation, and how many times float that is.")
        {
            file, against, prompt, tokens, repeats, libraries, threads, report, json,
        };
        command.SetAction(parsed =>
        {
            OutputPlace.RequireReport(parsed.GetValue(report));
            var measured = ExportedFile.Require(parsed.GetValue(file)!);
            var compared = parsed.GetValue(against) is { } other ? ExportedFile.Require(other) : null;
            var folder = measured.Engine == LlamaCppEngine.EngineName || compared?.Engine == LlamaCppEngine.EngineName ? LlamaCppLibraries.Find(parsed.GetValue(libraries)) : string.Empty;
            if (folder.Length == 0)
            {
                CommonOptions.RefuseWithoutEffect(parsed, "it is for llama.cpp, and no GGUF file is measured", libraries);
            }

            var pickiest = compared?.Engine == LlamaCppEngine.EngineName ? compared.Engine : measured.Engine;
            var options = new BenchOptions(
                parsed.GetValue(prompt) ?? UsualPrompt,
                parsed.GetValue(tokens) ?? UsualTokens,
                parsed.GetValue(repeats) ?? UsualRepeats,
                EngineThreads.For(parsed.GetValue(threads), pickiest, host.Warn),
                folder);
            var document = host.WithProgress(progress => EngineBench.Run(measured, compared, options, progress, host.Cancellation));
            CommandHost.Deliver(
                () => WriteReport(parsed.GetValue(report), document, CommonOptions.CommandLine(parsed.Tokens.Select(token => token.Value))),
                () => Print(host, parsed.GetValue(json), document));
            return ExitCode.Done;
        });
        return command;
    }

    private static void WriteReport(string? path, BenchDocument document, string commandLine)
    {
        if (path is not null)
        {
            HtmlPage.Write(path, BenchReport.Render(document, Environs.Machine(), commandLine));
        }
    }

    private static void Print(CommandHost host, bool json, BenchDocument document)
    {
        if (json)
        {
            host.WriteJson(document, CliJson.Default.BenchDocument);
        }
        else
        {
            Write(host, document);
        }
    }

    private static void Write(CommandHost host, BenchDocument document)
    {
        host.Output.WriteLine(BenchTable.Setting(document));
        var table = new Table { Border = TableBorder.Simple, ShowRowSeparators = false };
        table.AddColumns([.. ((string[])[string.Empty, document.File.Name, .. document.Against is { } against ? (string[])[against.Name, "compared"] : []]).Select(heading => new TableColumn(Markup.Escape(heading)))]);
        foreach (var row in BenchTable.Rows(document))
        {
            table.AddRow([.. row.Select(Markup.Escape)]);
        }

        host.Console.WriteTable(table);
    }
}
