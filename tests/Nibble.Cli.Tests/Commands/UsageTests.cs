namespace Nibble.Cli.Tests.Commands;

/// <summary>What the parser refuses, before any model is opened, and the help.</summary>
[Collection(OneAtATime.Name)]
public sealed class UsageTests
{
    [Theory]
    [InlineData("frobnicate", "There is no command 'frobnicate'.", "nibble --help")]
    [InlineData("quantise model.gguf", "There is no command 'quantise'. Did you mean quantize?", "nibble --help")]
    [InlineData("ptq model --recipie w4a16-g32 -o out", "'--recipie'. Did you mean --recipe?", "nibble ptq --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --learning-rate 0,001",
        "--learning-rate is '0,001', which is not a number; expected above 0, and at most 3.4e38; write 0.001.", "nibble qat --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --steps 1,000", "--steps is '1,000', which is not a whole number; expected 1 or more; write 1000.",
        "nibble qat --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --seed 1_000", "--seed is '1_000', which is not a whole number; expected a 64-bit integer; write 1000.",
        "nibble qat --help")]
    [InlineData("verify model -d text --tolerance 0,1", "--tolerance is '0,1', which is not a number; expected 0 or more; write 0.1.", "nibble verify --help")]
    [InlineData("verify model -d text --logit-tolerance 1.000,5", "--logit-tolerance is '1.000,5', which is not a number; expected 0 or more.",
        "nibble verify --help")]
    [InlineData("verify model -d text --tolerance ∞", "--tolerance is '∞', which is not a number", "nibble verify --help")]
    [InlineData("generate model -p x --temperature 0,7", "write 0.7.", "nibble generate --help")]
    [InlineData("generate model -p x --top-p 0,9", "write 0.9.", "nibble generate --help")]
    [InlineData("generate model -p x --temperature 0 --top-p 0.9", "--top-p has no effect here", "nibble generate --help")]
    [InlineData("generate model -p x --tokenizer folder", "--tokenizer has no effect here: it is for ONNX Runtime", "nibble generate --help")]
    [InlineData("generate model -p x --engine-path folder", "--engine-path has no effect here: it is for llama.cpp", "nibble generate --help")]
    [InlineData("mix model -d text --budget 2,5bits -o out.yaml", "write 2.5bits.", "nibble mix --help")]
    [InlineData("mix model -d text --budget 2.5bits --qat-minutes 1,5 -o out.yaml", "write 1.5.", "nibble mix --help")]
    [InlineData("advise model -d text --max-loss 0,02", "write 0.02.", "nibble advise --help")]
    [InlineData("advise model -d text --max-loss 2,5%", "write 2.5%.", "nibble advise --help")]
    [InlineData("advise model -d text --minutes 0,5", "write 0.5.", "nibble advise --help")]
    [InlineData("advise model -d text --flops 10", "--flops has no effect without --cost-of", "nibble advise --help")]
    [InlineData("advise model -e text --calibration-tokens 10", "--calibration-tokens has no effect without --data", "nibble advise --help")]
    [InlineData("advise --cost-of 8B --minutes 3", "--minutes has no effect with --cost-of", "nibble advise --help")]
    [InlineData("ptq model -r w4a99 -o out", "There is no preset 'w4a99'", "nibble ptq --help")]
    [InlineData("qat model -r missing.yaml -o out -d text", "There is no recipe file missing.yaml", "nibble qat --help")]
    [InlineData("compare --algorithms magic", "'magic'", "nibble compare --help")]
    [InlineData("compare --hybrids w4a16-g32", "is not a hybrid", "nibble compare --help")]
    [InlineData("inspect", "Required argument missing", "nibble inspect --help")]
    [InlineData("inspect model --layers", "'--layers'", "nibble inspect --help")]
    [InlineData("ptq model -o out", "Give a --recipe, a --target, or both.", "nibble ptq --help")]
    [InlineData("ptq model -r w4a16-g32", "'--output' is required", "nibble ptq --help")]
    [InlineData("qat model -r w4a16-g32 -o out", "'--data' is required", "nibble qat --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --steps 0", "--steps is 0, expected 1 or more", "nibble qat --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --steps many", "--steps is 'many', which is not a whole number; expected 1 or more.",
        "nibble qat --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --learning-rate 0", "--learning-rate is 0, expected above 0", "nibble qat --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --learning-rate fast",
        "--learning-rate is 'fast', which is not a number; expected above 0, and at most 3.4e38.", "nibble qat --help")]
    [InlineData("eval model", "'--data' or '--tasks' is required", "nibble eval --help")]
    [InlineData("eval model --tasks a.jsonl --data text", "--data has no effect on questions, but --tasks is given; remove it", "nibble eval --help")]
    [InlineData("eval model --tasks a.jsonl --context 8", "--context has no effect on questions, but --tasks is given; remove it", "nibble eval --help")]
    [InlineData("eval model --data text --shots 1", "--shots is for questions, but --tasks is not given; remove it", "nibble eval --help")]
    [InlineData("eval model --tasks a.jsonl --examples b.jsonl", "--examples is given without --shots", "nibble eval --help")]
    [InlineData("eval model -d text --windows -1", "--windows is -1, expected 1 or more", "nibble eval --help")]
    [InlineData("eval model -d text --context 3", "--context is 3, expected 4 or more", "nibble eval --help")]
    [InlineData("eval model -d text --threads 0", "--threads is 0, expected 1 or more", "nibble eval --help")]
    [InlineData("eval model -d  --windows 1", "--data is empty; give it a value", "nibble eval --help")]
    [InlineData("eval model -d - -d text -d -", "--data - is given twice, but standard input can be read only once.", "nibble eval --help")]
    [InlineData("inspect ", "MODEL_OR_FILE is empty; give it a value", "nibble inspect --help")]
    [InlineData("ptq model -r w4a16-g32 -o ", "--output is empty; give it a value", "nibble ptq --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --report ", "--report is empty; give it a value", "nibble qat --help")]
    [InlineData("qat model -r w4a16-g32 -o out -d text --learning-rate 1e39", "expected above 0, and at most 3.4e38", "nibble qat --help")]
    [InlineData("sensitivity model -d text --cache ", "--cache is empty; give it a value", "nibble sensitivity --help")]
    [InlineData("export model --to foo -o out", "--to: Argument 'foo' not recognized. Must be one of:", "nibble export --help")]
    [InlineData("sensitivity model -d text --algorithm foo", "--algorithm: 'foo' is not one of rtn, importance, hqq, gptq, gptaq.",
        "nibble sensitivity --help")]
    [InlineData("eval model -d text --context 99999999999", "--context is 99999999999, expected 4 to 2147483647.", "nibble eval --help")]
    [InlineData("bench", "Required argument missing", "nibble bench --help")]
    [InlineData("bench model.gguf --repeats 0", "--repeats is 0, expected 1 or more", "nibble bench --help")]
    [InlineData("generate model -p x --engine steam", "'steam'", "nibble generate --help")]
    [InlineData("generate model", "'--prompt' is required", "nibble generate --help")]
    [InlineData("generate model -p x --temperature -1", "--temperature is -1, expected 0 or more", "nibble generate --help")]
    [InlineData("generate model -p x --temperature NaN", "--temperature is 'NaN', which is not a number", "nibble generate --help")]
    [InlineData("generate model -p x --temperature hot", "'hot'", "nibble generate --help")]
    [InlineData("generate model -p x --top-p 1.5", "--top-p is 1.5, expected above 0 and at most 1", "nibble generate --help")]
    [InlineData("advise", "advise needs a MODEL, or --cost-of", "nibble advise --help")]
    [InlineData("advise model", "advise MODEL needs data", "nibble advise --help")]
    [InlineData("advise model -d text --max-loss much", "--max-loss is much, expected a share of the perplexity such as 2%", "nibble advise --help")]
    [InlineData("advise model -d text --max-loss 0%", "--max-loss is 0%", "nibble advise --help")]
    [InlineData("advise model -d text --minutes 0", "--minutes is 0, expected above 0", "nibble advise --help")]
    [InlineData("advise model -d text --engine exllama", "'exllama'", "nibble advise --help")]
    [InlineData("advise --cost-of 9B", "'9B' is not one of 1B, 8B, 70B", "nibble advise --help")]
    [InlineData("compare --bits 9", "'9' is not a width from 2 to 8", "nibble compare --help")]
    [InlineData("compare --bits 1", "'1' is not a width from 2 to 8", "nibble compare --help")]
    [InlineData("compare --bits 4,4", "'4' is not a width from 2 to 8, or is repeated", "nibble compare --help")]
    [InlineData("compare --bits 8,,2", "'' is not a width", "nibble compare --help")]
    [InlineData("compare --activations 7", "'7'", "nibble compare --help")]
    [InlineData("compare model", "compare MODEL needs two data sets", "nibble compare --help")]
    [InlineData("compare model --data text", "compare MODEL needs two data sets", "nibble compare --help")]
    [InlineData("mix model -d text -o out.yaml", "'--budget' is required", "nibble mix --help")]
    [InlineData("mix model -d text --budget 3 -o out.yaml", "--budget: '3' is not a budget", "nibble mix --help")]
    [InlineData("mix model -d text --budget 3bits -o out", "--output is out, expected a file name that ends in .yaml", "nibble mix --help")]
    [InlineData("imatrix model -o out.gguf", "'--data' is required", "nibble imatrix --help")]
    [InlineData("quantize model.gguf -o out.gguf", "A GGUF file needs --type", "nibble quantize --help")]
    [InlineData("quantize model.gguf -o out.gguf --type q4_k", "--type: 'q4_k' is not one of bf16, f16, q8_0", "nibble quantize --help")]
    [InlineData("export model -o out.onnx", "'--to' is required", "nibble export --help")]
    [InlineData("export model --to onnx", "'--output' is required", "nibble export --help")]
    [InlineData("export model --to pdf -o out", "'pdf'", "nibble export --help")]
    [InlineData("export model --to onnx -o out --inline-megabytes 2001", "--inline-megabytes is 2001, expected 0 to 2000", "nibble export --help")]
    [InlineData("verify model -d text --engine onnxruntime --type q4_0", "--type is for llama.cpp, but --engine is onnxruntime", "nibble verify --help")]
    [InlineData("verify model -d text --file model.gguf --type q4_0", "--file is exported already", "nibble verify --help")]
    [InlineData("verify model -d text --file model.gguf --engine onnxruntime", "model.gguf runs in llama.cpp, but --engine is onnxruntime",
        "nibble verify --help")]
    [InlineData("verify model.onnx -d text --type q4_0", "--type is for llama.cpp, but an ONNX file runs in onnxruntime", "nibble verify --help")]
    [InlineData("verify model.onnx -d text --engine llama.cpp", "An ONNX file runs unchanged in ONNX Runtime; remove --file and --engine",
        "nibble verify --help")]
    [InlineData("verify model.onnx -d text --file other.onnx", "An ONNX file runs unchanged in ONNX Runtime; remove --file and --engine",
        "nibble verify --help")]
    [InlineData("verify model.gguf -d text --engine onnxruntime", "A GGUF file runs unchanged in llama.cpp; remove --file and --engine",
        "nibble verify --help")]
    [InlineData("export model --to awq -o out --inline-megabytes 3", "--inline-megabytes is for ONNX, but --to is awq", "nibble export --help")]
    [InlineData("export model --to gguf -o out --accuracy-level 4", "--accuracy-level is for ONNX, but --to is gguf", "nibble export --help")]
    [InlineData("export model --to onnx -o out --accuracy-level 2", "'2'", "nibble export --help")]
    [InlineData("verify model -d text --engine steam", "'steam'", "nibble verify --help")]
    [InlineData("verify model -d text --engine onnxruntime --tolerance -1", "--tolerance is -1, expected 0 or more", "nibble verify --help")]
    [InlineData("sensitivity model -d text --bits 9", "--bits: '9' is not a width from 2 to 8", "nibble sensitivity --help")]
    public async Task WrongUsageIsRefusedWithAHint(string line, string expected, string hint)
    {
        var run = await CommandRun.Of(line.Split(' '));

        Assert.Equal(ExitCode.Usage, run.ExitCode);
        Assert.Empty(run.Output);
        Assert.Contains(expected, run.Error, StringComparison.Ordinal);
        Assert.EndsWith($"Try '{hint}'.", run.Error.TrimEnd(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("frobnicate --json", "usage", ExitCode.Usage)]
    [InlineData("ptq missing -r w4a16-g32 -o out --json", "badInput", ExitCode.BadInput)]
    [InlineData("verify missing.onnx -d text --json", "badInput", ExitCode.BadInput)]
    [InlineData("quantize missing.gguf --type q8_0 -o out.gguf --json", "badInput", ExitCode.BadInput)]
    [InlineData("qat missing -r w4a99 -o out -d text --json", "usage", ExitCode.Usage)]
    public async Task WithJsonFailuresAreADocumentToo(string line, string kind, int exitCode)
    {
        var run = await CommandRun.Of(line.Split(' '));

        Assert.Equal(exitCode, run.ExitCode);
        Assert.Equal("nibble.error/1", run.Json.GetProperty("schema").GetString());
        Assert.Equal(kind, run.Json.GetProperty("error").GetString());
        Assert.Equal(exitCode, run.Json.GetProperty("exitCode").GetInt32());
        Assert.Contains(run.Json.GetProperty("message").GetString()!.Split('\n')[0], run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task HelpListsEveryCommand()
    {
        using var host = new CommandHost(TextWriter.Null, TextWriter.Null);
        var help = await CommandRun.Succeeds("--help");

        Assert.Contains("nibble [command] [options]", help.Output, StringComparison.Ordinal);
        Assert.All(
            NibbleProgram.CreateRoot(host).Subcommands, command => Assert.Contains($"\n  {command.Name} ", help.Output, StringComparison.Ordinal));
        Assert.Empty(help.Error);
    }

    [Fact]
    public async Task EveryCommandAndOptionDescribesItself()
    {
        using var host = new CommandHost(TextWriter.Null, TextWriter.Null);
        foreach (var command in NibbleProgram.CreateRoot(host).Subcommands)
        {
            Assert.EndsWith(".", command.Description, StringComparison.Ordinal);
            Assert.All(command.Options, option => Assert.EndsWith(".", option.Description, StringComparison.Ordinal));
            Assert.All(command.Arguments, argument => Assert.EndsWith(".", argument.Description, StringComparison.Ordinal));
            var help = await CommandRun.Succeeds(command.Name, "--help");
            Assert.Contains($"nibble {command.Name} ", help.Output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task VersionIsTheAssemblyS()
    {
        var run = await CommandRun.Succeeds("--version");

        Assert.StartsWith(typeof(NibbleProgram).Assembly.GetName().Version!.ToString(3), run.Output, StringComparison.Ordinal);
    }
}
