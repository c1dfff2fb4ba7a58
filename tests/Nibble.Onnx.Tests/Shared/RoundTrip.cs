using Nibble.Formats.CompressedTensors;
using Nibble.Cli.Engines;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Shared;

/// <summary>Exports a folder, imports the file, and exports what came of it once more.</summary>
internal static class RoundTrip
{
    /// <summary>Expects the same bytes in both files and, of an artifact, in both folders; of a checkpoint the same tensors.</summary>
    /// <returns>The folder that was imported, and what the import noted.</returns>
    public static (string Imported, IReadOnlyList<string> Notes) RequireSame(
        string model, TemporaryFolder folder, long inlineLimit = 2_000_000_000, MatMulAccuracy accuracy = MatMulAccuracy.Float32)
    {
        var (first, second, imported) = (folder.File("first"), folder.File("second"), folder.File("imported"));
        OnnxExport.Run(model, Path.Combine(first, "model.onnx"), inlineLimit, accuracy);
        var result = FileImport.Run(Path.Combine(first, "model.onnx"), imported);
        OnnxExport.Run(imported, Path.Combine(second, "model.onnx"), inlineLimit, accuracy);

        Assert.Equal("onnx", result.Format);
        RequireSameFiles(first, second);
        if (QuantizedModelFile.IsArtifact(model))
        {
            Assert.True(result.Layers > 0);
            RequireSameFiles(model, imported);
        }
        else
        {
            Assert.Equal(0, result.Layers);
            RequireSameTensors(model, imported);
        }

        return (imported, result.Notes);
    }

    private static void RequireSameFiles(string expected, string found)
    {
        var (left, right) = (TemporaryFolder.Contents(expected), TemporaryFolder.Contents(found));
        Assert.Equal(left.Keys, right.Keys);
        Assert.All(left, file => Assert.True(file.Value.AsSpan().SequenceEqual(right[file.Key]), $"{file.Key} differs"));
    }

    private static void RequireSameTensors(string expected, string found)
    {
        using Checkpoint left = Checkpoint.Open(expected), right = Checkpoint.Open(found);
        Assert.Equal(left.ConfigJson, right.ConfigJson);
        Assert.Equal(left.TensorNames, right.TensorNames);
        Assert.All(left.TensorNames, name =>
        {
            Assert.Equal((left.Entry(name).ElementType, string.Join(',', left.Entry(name).Shape)),
                (right.Entry(name).ElementType, string.Join(',', right.Entry(name).Shape)));
            Assert.Equal(left.ReadFloats(name), right.ReadFloats(name));
        });
    }
}
