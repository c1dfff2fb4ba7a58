using Nibble.Files;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Nibble.Cli.Comparison;
using Nibble.Formats.Gguf;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Commands;

/// <summary><c>nibble quantize</c>, tensor by tensor against llama.cpp's own quantizer.</summary>
[Collection(OneAtATime.Name)]
public sealed class QuantizeGgufCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("q8_0", 7)]
    [InlineData("q5_1", 9)]
    [InlineData("q5_0", 8)]
    [InlineData("q4_1", 3)]
    [InlineData("q4_0", 2)]
    [InlineData("bf16", 32)]
    public async Task AFileGetsTheTypesAndBytesThatLlamaCppGivesIt(string type, uint fileType)
    {
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "--type", "f16", "-o", folder.At("f16.gguf"));
        await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", type, "-o", folder.At("ours.gguf"), "--threads", "2");
        LlamaCppQuantizer.Run(folder.At("f16.gguf"), folder.At("theirs.gguf"), fileType);

        using var ours = GgufFile.Open(folder.At("ours.gguf"));
        using var theirs = GgufFile.Open(folder.At("theirs.gguf"));
        Assert.Equal(theirs.Tensors.Select(tensor => (tensor.Name, tensor.Type)).Order(), ours.Tensors.Select(tensor => (tensor.Name, tensor.Type)).Order());
        Assert.Equal(theirs.Metadata.Select(pair => (pair.Key, Convert.ToHexString(pair.Value.Bytes))),
            ours.Metadata.Select(pair => (pair.Key, Convert.ToHexString(pair.Value.Bytes))));
        foreach (var tensor in ours.Tensors.Where(tensor => tensor.Type != GgufType.Q6_K))
        {
            Assert.Equal(Bytes(theirs, theirs.FindTensor(tensor.Name)!), Bytes(ours, tensor));
        }

        Assert.Equal(type is "q8_0" or "bf16" ? 0 : 1, ours.Tensors.Count(tensor => tensor.Type == GgufType.Q6_K));
    }

    /// <summary>The types are llama.cpp's, the codes are not; each matrix has no higher error.</summary>
    [Theory]
    [InlineData("q2_k")]
    [InlineData("q3_k_m")]
    [InlineData("q4_k_m")]
    [InlineData("q5_k_s")]
    [InlineData("q6_k")]
    public async Task SuperBlocksHaveNoMoreErrorThanLlamaCpps(string type)
    {
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "--type", "f16", "-o", folder.At("f16.gguf"));
        await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", type, "-o", folder.At("ours.gguf"));
        LlamaCppQuantizer.Run(folder.At("f16.gguf"), folder.At("theirs.gguf"), GgufMixture.Find(type)!.FileType);

        using var source = GgufFile.Open(folder.At("f16.gguf"));
        using var ours = GgufFile.Open(folder.At("ours.gguf"));
        using var theirs = GgufFile.Open(folder.At("theirs.gguf"));
        Assert.Equal(theirs.Metadata.Select(pair => (pair.Key, Convert.ToHexString(pair.Value.Bytes))),
            ours.Metadata.Select(pair => (pair.Key, Convert.ToHexString(pair.Value.Bytes))));
        foreach (var tensor in source.Tensors)
        {
            Assert.Equal(theirs.FindTensor(tensor.Name)!.Type, ours.FindTensor(tensor.Name)!.Type);
            Assert.InRange(Error(ours), 0, Error(theirs));

            double Error(GgufFile file) =>
                source.ReadFloats(tensor).Zip(file.ReadFloats(file.FindTensor(tensor.Name)!)).Sum(pair => Math.Pow(pair.First - (double)pair.Second, 2));
        }
    }

    /// <summary>With the matrix that <c>nibble imatrix</c> writes, the weighted error falls, and is no higher than llama.cpp's with the same matrix.</summary>
    [Theory]
    [InlineData("q2_k", 0.99)]
    [InlineData("q4_k_m", 0.99)]
    [InlineData("q4_0", 0.95)]
    [InlineData("q5_1", 0.95)]
    public async Task AnImportanceMatrixMovesErrorsToWhereTheyMatterLess(string type, double share)
    {
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "--type", "f16", "-o", folder.At("f16.gguf"));
        var run = await CommandRun.Succeeds(
            "imatrix", BuiltInModel.Folder, "--data", BuiltInModel.EvaluationText, "-o", folder.At("imatrix.gguf"), "--windows", "8", "--threads", "1",
            "--json");
        Assert.Equal(("nibble.imatrix/1", 8), (run.Json.GetProperty("schema").GetString(), run.Json.GetProperty("windows").GetInt32()));
        await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", type, "-o", folder.At("plain.gguf"));
        var quantized = await CommandRun.Succeeds(
            "quantize", folder.At("f16.gguf"), "--type", type, "-o", folder.At("ours.gguf"), "--imatrix", folder.At("imatrix.gguf"));
        Assert.Contains("note: 1 are not in the importance matrix, so all their columns have equal weight: token_embd.weight", quantized.Output,
            StringComparison.Ordinal);

        var importance = ImportanceMatrix.Read(folder.At("imatrix.gguf"));
        var weights = importance.Entries.ToDictionary(
            entry => entry.Key, entry => Array.ConvertAll(entry.Value.Squares, value => value / entry.Value.Counts[0]));
        LlamaCppQuantizer.Run(folder.At("f16.gguf"), folder.At("theirs.gguf"), GgufMixture.Find(type)!.FileType, weights);
        var (ours, theirs, plain) = (0d, 0d, 0d);
        using var source = GgufFile.Open(folder.At("f16.gguf"));
        foreach (var (name, columns) in weights)
        {
            var error = Error("ours.gguf", name, columns);
            Assert.InRange(error, 0, Error("theirs.gguf", name, columns));
            (ours, theirs, plain) = (ours + error, theirs + Error("theirs.gguf", name, columns), plain + Error("plain.gguf", name, columns));
        }

        Assert.InRange(ours, 0, share * plain);
        using var file = GgufFile.Open(folder.At("ours.gguf"));
        Assert.Equal((folder.At("imatrix.gguf"), (long?)weights.Count, 8L),
            (file.Find("quantize.imatrix.file")?.AsText(), file.Find("quantize.imatrix.entries_count")?.AsInteger(),
            file.Find("quantize.imatrix.chunks_count")?.AsInteger()));

        double Error(string path, string name, float[] columns)
        {
            using var other = GgufFile.Open(folder.At(path));
            var (expected, found) = (source.ReadFloats(source.FindTensor(name)!), other.ReadFloats(other.FindTensor(name)!));
            return Enumerable.Range(0, expected.Length).Sum(i => columns[i % columns.Length] * Math.Pow(expected[i] - (double)found[i], 2));
        }
    }

    [Fact]
    public async Task ThreadsAndPiecesChangeNoByteAndPureFilesHaveOneType()
    {
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "-o", folder.At("f16.gguf"));
        await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", "q4_0", "-o", folder.At("one.gguf"), "--threads", "1");
        await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", "q4_0", "-o", folder.At("three.gguf"), "--threads", "3");
        Assert.Equal(File.ReadAllBytes(folder.At("one.gguf")), File.ReadAllBytes(folder.At("three.gguf")));

        var run = await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", "q4_0", "-o", folder.At("pure.gguf"), "--pure", "--json");
        Assert.Equal(29, run.Json.GetProperty("types").GetProperty("Q4_0").GetInt32());
        Assert.Equal(2, run.Json.GetProperty("types").EnumerateObject().Count());
    }

    [Fact]
    public async Task RaggedRowsStayInHalfPrecision()
    {
        await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "-o", folder.At("tiny.gguf"));
        var run = await CommandRun.Succeeds("quantize", folder.At("tiny.gguf"), "--type", "q8_0", "-o", folder.At("tiny-q8.gguf"));
        Assert.Contains("note: 9 stay F16 instead of Q8_0, because blocks of 32 do not divide their rows: token_embd.weight has 16 columns",
            run.Output, StringComparison.Ordinal);
    }

    /// <summary>What another type takes the place of is said, type by type, in the text and in JSON.</summary>
    [Fact]
    public async Task TypesThatDoNotFitAreSaid()
    {
        GgufTensor Matrix(string name, int columns) => new(name, GgufType.F32, [columns, 4], stream => stream.Write(new byte[columns * 16]));
        GgufWriter.Write(
            folder.At("narrow.gguf"),
            [new("general.architecture", GgufValue.Of("llama")), new("llama.block_count", GgufValue.Of(1u))],
            [Matrix("token_embd.weight", 576), Matrix("output.weight", 576), Matrix("blk.0.ffn_gate.weight", 576),
                Matrix("blk.0.ffn_up.weight", 576), Matrix("blk.0.ffn_down.weight", 1536), Matrix("blk.0.attn_output.weight", 24)]);
        var run = await CommandRun.Succeeds("quantize", folder.At("narrow.gguf"), "--type", "q2_k", "-o", folder.At("text.gguf"));
        Assert.Contains("note: 3 became Q4_0 instead of Q2_K, because blocks of 256 do not divide their rows: token_embd.weight has 576 columns",
            run.Output, StringComparison.Ordinal);
        Assert.Contains("note: 1 stay F16 instead of Q3_K, because blocks of 256 do not divide their rows: blk.0.attn_output.weight has 24 columns",
            run.Output, StringComparison.Ordinal);

        run = await CommandRun.Succeeds("quantize", folder.At("narrow.gguf"), "--type", "q2_k", "-o", folder.At("json.gguf"), "--json");
        Assert.Equal(
            [("Q2_K", "Q4_0", 3, "token_embd.weight", 576), ("Q3_K", "F16", 1, "blk.0.attn_output.weight", 24)],
            run.Json.GetProperty("fallbacks").EnumerateArray().Select(entry => (
                entry.GetProperty("wanted").GetString()!, entry.GetProperty("type").GetString()!, entry.GetProperty("tensors").GetInt32(),
                entry.GetProperty("example").GetString()!, entry.GetProperty("columns").GetInt32())));
    }

    [Theory]
    [InlineData("q8_0", "1 do not use the importance matrix, which has no effect on their types: blk.0.attn_q.weight")]
    [InlineData("f16", "1 do not use the importance matrix, which has no effect on their types: blk.0.attn_q.weight")]
    [InlineData("tq2_0", "1 do not use the importance matrix, which has no effect on their types: blk.0.attn_q.weight")]
    [InlineData("q4_0", null)]
    [InlineData("q6_k", null)]
    public async Task TypesThatMakeNoUseOfAnImportanceMatrixSaySo(string type, string? expected)
    {
        using var values = new MemoryStream(new byte[256 * 2 * sizeof(float)]);
        GgufWriter.Write(
            folder.At("one.gguf"),
            [new("general.architecture", GgufValue.Of("llama")), new("llama.block_count", GgufValue.Of(1u))],
            [
                new GgufTensor("blk.0.attn_q.weight", GgufType.F32, [256, 2], stream => values.WriteTo(stream)),
                new GgufTensor("output_norm.weight", GgufType.F32, [4], stream => stream.Write(new byte[16])),
            ]);
        new ImportanceMatrix(
            new Dictionary<string, InputSquares> { ["blk.0.attn_q.weight"] = new([.. Enumerable.Range(1, 256).Select(i => (float)i)], [1]) }, [], 1, 1)
            .Write(folder.At("imatrix.gguf"));
        string[] arguments = ["quantize", folder.At("one.gguf"), "--type", type, "--imatrix", folder.At("imatrix.gguf"), "-o"];
        var text = await CommandRun.Succeeds([.. arguments, folder.At("text.gguf")]);
        var json = (await CommandRun.Succeeds([.. arguments, folder.At("json.gguf"), "--json"])).Json;

        const string Copied = "1 are copied unchanged, because they are not weight matrices: output_norm.weight";
        string[] notes = expected is null ? [Copied] : [Copied, expected];
        Assert.Equal(notes.Select(note => "note: " + note), text.Output.Trim().Split('\n')[1..]);
        Assert.Equal(expected is null ? 0 : 1, json.GetProperty("importanceIgnored").GetArrayLength());
        Assert.Equal("output_norm.weight", Assert.Single(json.GetProperty("copied").EnumerateArray()).GetString());
    }

    [Fact]
    public async Task WhatCannotBeQuantizedIsRefusedAndLeavesNothing()
    {
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "-o", folder.At("f16.gguf"));
        await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", "q8_0", "-o", folder.At("q8.gguf"));
        Assert.Contains("rounding a second time", await Refusal("q8.gguf"), StringComparison.Ordinal);
        var again = await CommandRun.Succeeds("quantize", folder.At("q8.gguf"), "--type", "q8_0", "-o", folder.At("q8-again.gguf"));
        Assert.Contains("note: 29 already have the type and keep their codes: token_embd.weight", again.Output, StringComparison.Ordinal);
        Assert.Contains("no file", await Refusal("absent.gguf"), StringComparison.Ordinal);
        Assert.Contains("this is not a GGUF file", await Refusal(Path.GetFileName(folder.Write("text.gguf", "no model"))), StringComparison.Ordinal);

        var bytes = File.ReadAllBytes(folder.At("f16.gguf"));
        using (var file = GgufFile.Open(folder.At("f16.gguf")))
        {
            BinaryPrimitives.WriteHalfLittleEndian(bytes.AsSpan((int)file.FindTensor("blk.1.ffn_up.weight")!.Offset + 20), Half.NaN);
        }

        File.WriteAllBytes(folder.At("ruined.gguf"), bytes);
        Assert.Contains("value 10 of tensor blk.1.ffn_up.weight is NaN", await Refusal("ruined.gguf"), StringComparison.Ordinal);

        {
            var tensor = new GgufTensor(
                "a.weight", GgufType.F32, [32, 2],
                stream => stream.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<float>([.. Enumerable.Range(0, 64).Select(i => i == 63 ? -1e6f : 1)]))));
            GgufWriter.Write(folder.At("large.gguf"), [new("general.architecture", GgufValue.Of("llama"))], [tensor]);
            Assert.Contains("value 63 of tensor a.weight is -1000000, expected a finite number of at most 65504", await Refusal("large.gguf"),
                StringComparison.Ordinal);
            GgufWriter.Write(folder.At("other.gguf"), [new("general.architecture", GgufValue.Of("mamba"))], []);
        }

        Assert.Contains("the architecture is 'mamba'", await Refusal("other.gguf"), StringComparison.Ordinal);

        // Quantized alone, a part would be a file that looks whole.
        var architecture = new KeyValuePair<string, GgufValue>("general.architecture", GgufValue.Of("llama"));
        GgufWriter.Write(folder.At("part.gguf"), [architecture, new("split.no", GgufValue.Of(1u)), new("split.count", GgufValue.Of(3u))], []);
        Assert.Contains("is part 2 of 3 of a model, expected the whole model in one file", await Refusal("part.gguf"), StringComparison.Ordinal);

        new ImportanceMatrix(new Dictionary<string, InputSquares> { ["blk.0.attn_q.weight"] = new([1, 2], [1]) }, [], 1, 1).Write(folder.At("foreign.gguf"));
        Assert.Contains("the entry of blk.0.attn_q.weight has 2 columns, but the matrix has 256; it was made for another model",
            await Refusal("f16.gguf", "--imatrix", folder.At("foreign.gguf")), StringComparison.Ordinal);
        Assert.Contains("is not an importance matrix", await Refusal("f16.gguf", "--imatrix", folder.At("f16.gguf")), StringComparison.Ordinal);

        async Task<string> Refusal(string name, params string[] further)
        {
            var run = await CommandRun.Of(["quantize", folder.At(name), "--type", "q4_0", "-o", folder.At("out.gguf"), .. further]);
            Assert.Equal(ExitCode.BadInput, run.ExitCode);
            Assert.Empty(Directory.EnumerateFiles(folder.Root, "out.gguf*"));
            return run.Error;
        }
    }

    private static byte[] Bytes(GgufFile file, GgufEntry tensor)
    {
        var bytes = new byte[tensor.ByteLength];
        file.ReadBytes(tensor, 0, bytes);
        return bytes;
    }
}
