using System.Text;
using Google.Protobuf;
using Nibble.Onnx.Graphs;
using Nibble.Tests.Shared;

namespace Nibble.Onnx.Tests;

public class OnnxFileTests
{
    private const long DataBytes = 1 << 20;

    private static readonly Dictionary<string, Action<ModelProto>> Faults = new(StringComparer.Ordinal)
    {
        ["has no graph"] = model => model.Graph = null,
        ["two tensors have the name 'w'"] = model => model.Graph.Initializer.Add(model.Graph.Initializer[0].Clone()),
        ["has type 0"] = model => model.Graph.Initializer[0].DataType = 0,
        ["has type 99"] = model => model.Graph.Initializer[0].DataType = 99,
        ["has the shape [-2, 3]"] = model => model.Graph.Initializer[0].Dims[0] = -2,
        ["which is negative or too large"] = model => model.Graph.Initializer[0].Dims[0] = long.MaxValue,
        ["holds 24 bytes, but its shape requires 36"] = model => model.Graph.Initializer[0].Dims[0] = 3,
        ["is stored in '../model.onnx.data', expected a file next to the model"] = model => External(model, "location").Value = "../model.onnx.data",
        ["is stored in '/etc/passwd', expected a file next to the model"] = model => External(model, "location").Value = "/etc/passwd",
        ["is stored in '', expected a file next to the model"] = model => External(model, "location").Key = "place",
        ["which is missing"] = model => External(model, "location").Value = "other",
        ["has the offset 'x', expected a whole number"] = model => External(model, "offset").Value = "x",
        ["has the offset '-1', expected a whole number"] = model => External(model, "offset").Value = "-1",
        ["takes 64 bytes from byte 1048576"] = model => External(model, "offset").Value = "1048576",
        ["takes 65 bytes"] = model => External(model, "length").Value = "65",
    };

    [Fact]
    public void AModelIsDescribed()
    {
        var file = Read(Small().ToByteArray());
        Assert.Equal((10, "Nibble 1.0"), (file.IrVersion, file.Producer));
        Assert.Equal([new("ai.onnx", 21), new("com.microsoft", 1)], file.OperatorSets);
        Assert.Equal([new("Add", 2), new("com.microsoft.MatMulNBits", 1)], file.Operators);
        Assert.Equal([new("k", "v")], file.Metadata);
        Assert.Equal(["w FLOAT 2,3 24 ", "codes UINT4 3 2 ", "far FLOAT16 4,8 64 model.onnx.data", "texts STRING 2  "],
            file.Tensors.Select(tensor => $"{tensor.Name} {tensor.Type} {string.Join(',', tensor.Shape)} {tensor.Bytes} {tensor.DataFile}"));
        Assert.Equal(["x FLOAT batch,3"], file.Inputs.Select(value => $"{value.Name} {value.Type} {string.Join(',', value.Shape)}"));
        Assert.Equal("y", Assert.Single(file.Outputs).Name);
    }

    public static TheoryData<string> Said => [.. Faults.Keys];

    [Theory]
    [MemberData(nameof(Said))]
    public void WhatIsWrongIsSaid(string expected)
    {
        var model = Small();
        Faults[expected](model);
        Assert.Contains(expected, Assert.Throws<NibbleException>(() => Read(model.ToByteArray())).Message, StringComparison.Ordinal);
    }

    public static TheoryData<string> ValidFiles { get; } = Corpus.Names("onnx").Valid;

    public static TheoryData<string> BrokenFiles { get; } = Corpus.Names("onnx").Broken;

    [Theory]
    [MemberData(nameof(ValidFiles))]
    public void TheCorpusIsRead(string name) => Assert.NotEmpty(OnnxFile.Open(Corpus.PathOf("onnx", name)).Outputs);

    [Theory]
    [MemberData(nameof(BrokenFiles))]
    public void TheCorpusIsRefused(string name) => Assert.Throws<NibbleException>(() => OnnxFile.Open(Corpus.PathOf("onnx", name)));

    /// <summary>A million mutations of the corpus: each is read or refused.</summary>
    [Fact]
    public void AMutatedModelIsReadOrRefused()
    {
        byte[][] corpus = [Small().ToByteArray(), .. Corpus.Read("onnx")];
        byte[][] pieces =
        [
            [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0xFF, 0xFF, 0xFF, 0xFF, 0x07],
            [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], [0x3A], [0x2A, 0x00], [0x0B], [0x3B, 0x3B, 0x3B, 0x3B], [0x0C],
            Encoding.ASCII.GetBytes("location"), Encoding.ASCII.GetBytes("offset"), Encoding.ASCII.GetBytes("../"), [0xC3, 0x28], [0x00],
        ];
        var read = 0;
        Gen.Select(Gen.Int[0, corpus.Length - 1], Mutations.Any).Sample(
            (seed, mutations) =>
            {
                try
                {
                    var file = Read(mutations.Of(corpus[seed], pieces));
                    Assert.All(file.Tensors, tensor => Assert.True(tensor.Bytes is null or >= 0));
                    Interlocked.Increment(ref read);
                }
                catch (NibbleException)
                {
                }
            },
            iter: 1_000_000);
        Assert.InRange(read, 1000, 999_000);
    }

    private static OnnxFile Read(byte[] bytes)
    {
        using var stream = new MemoryStream(bytes);
        return OnnxFile.Read("model.onnx", stream, name => name == "model.onnx.data" ? DataBytes : null);
    }

    private static StringStringEntryProto External(ModelProto model, string key) => model.Graph.Initializer[2].ExternalData.Single(entry => entry.Key == key);

    private static ModelProto Small()
    {
        var graph = new GraphProto { Name = "g" };
        graph.Node.Add(new NodeProto { OpType = "Add", Name = "a", Input = { "x", "w" }, Output = { "s" } });
        graph.Node.Add(new NodeProto
        {
            OpType = "MatMulNBits",
            Domain = GraphBuilder.MicrosoftDomain,
            Input = { "s", "codes" },
            Output = { "m" },
            Attribute = { new AttributeProto { Name = "bits", Type = AttributeProto.Types.AttributeType.Int, I = 4 } }
        });
        graph.Node.Add(new NodeProto { OpType = "Add", Name = "b", Input = { "m", "w" }, Output = { "y" } });
        graph.Initializer.Add(new TensorProto { Name = "w", DataType = 1, Dims = { 2, 3 }, RawData = ByteString.CopyFrom(new byte[24]) });
        graph.Initializer.Add(new TensorProto { Name = "codes", DataType = 21, Dims = { 3 }, RawData = ByteString.CopyFrom(1, 2) });
        graph.Initializer.Add(new TensorProto
        {
            Name = "far",
            DataType = 10,
            Dims = { 4, 8 },
            DataLocation = TensorProto.Types.DataLocation.External,
            ExternalData = { new StringStringEntryProto { Key = "location", Value = "model.onnx.data" },
                new StringStringEntryProto { Key = "offset", Value = "4096" }, new StringStringEntryProto { Key = "length", Value = "64" } },
        });
        graph.Initializer.Add(new TensorProto { Name = "texts", DataType = 8, Dims = { 2 } });
        graph.Input.Add(Value("x", new TensorShapeProto.Types.Dimension { DimParam = "batch" }, new TensorShapeProto.Types.Dimension { DimValue = 3 }));
        graph.Input.Add(Value("w"));
        graph.Output.Add(Value("y"));
        return new ModelProto
        {
            IrVersion = 10,
            ProducerName = "Nibble",
            ProducerVersion = "1.0",
            Graph = graph,
            OpsetImport = { new OperatorSetIdProto { Version = 21 }, new OperatorSetIdProto { Domain = GraphBuilder.MicrosoftDomain, Version = 1 } },
            MetadataProps = { new StringStringEntryProto { Key = "k", Value = "v" } },
        };
    }

    private static ValueInfoProto Value(string name, params TensorShapeProto.Types.Dimension[] sizes) =>
        new()
        {
            Name = name,
            Type = new TypeProto
            {
                TensorType = new TypeProto.Types.Tensor
                {
                    ElemType = 1,
                    Shape = new TensorShapeProto { Dim = { sizes } }
                }
            }
        };
}
