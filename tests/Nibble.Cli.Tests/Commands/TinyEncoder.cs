using Nibble.Torch.Tests.Models.Bert;

namespace Nibble.Cli.Tests.Commands;

/// <summary>Folders with an encoder of a few thousand weights, and what it reads.</summary>
internal static class TinyEncoder
{
    private static readonly string[] Pairs =
    [
        "good film\tgood films\t5", "bad film\tw12 w13\t0.5", "w20 good w21\tw21 w20\t3", "w9 w30\tbad w31 w31\t1.2",
        "films w14\tw15 good\t2", "w25 w26 w27\tw26\t4.5",
    ];

    private static readonly string[] Lines =
    [
        "good film\t2", "bad films w12 w13\t0", "w20 good w21 w22 w23\t1", "film bad\t0",
        "w9 w30 w31\t1", "good w17 w18\t2", "w33 w34 bad film\t0", "w35 w36\t1",
    ];

    /// <summary>Writes a classifier of three classes.</summary>
    public static string WriteClassifier(string folder) => new TinyBert().Write(folder);

    /// <summary>Writes the same encoder without a classifier: a folder that says that its vectors are averaged.</summary>
    public static string WriteEmbedder(string folder)
    {
        var model = new TinyBert().Write(folder, tensors =>
        {
            tensors.Remove("classifier.weight");
            tensors.Remove("classifier.bias");
        });
        File.WriteAllText(Path.Combine(model, "modules.json"), """
            [{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
             {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]
            """);
        Directory.CreateDirectory(Path.Combine(model, "1_Pooling"));
        File.WriteAllText(Path.Combine(model, "1_Pooling", "config.json"), """{"pooling_mode_mean_tokens":true}""");
        return model;
    }

    /// <summary>Writes texts with labels.</summary>
    public static string WriteLabelled(string path, int lines) => Write(path, Lines, lines);

    /// <summary>Writes pairs of texts with scores.</summary>
    public static string WritePairs(string path, int lines) => Write(path, Pairs, lines);

    /// <summary>Writes texts alone.</summary>
    public static string WriteTexts(string path, int lines) => Write(path, [.. Lines.Select(line => line.Split('\t')[0])], lines);

    private static string Write(string path, string[] lines, int count)
    {
        File.WriteAllLines(path, Enumerable.Range(0, count).Select(i => lines[i % lines.Length]));
        return path;
    }
}
