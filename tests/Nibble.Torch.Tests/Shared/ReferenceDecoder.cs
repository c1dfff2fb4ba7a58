using System.Text.Json;
using Nibble.Files;
using Nibble.Formats.Safetensors;

namespace Nibble.Torch.Tests.Shared;

/// <summary>A tiny decoder with logits that <c>tests/Corpus/decoders/reference.py</c> worked out, described there.</summary>
internal sealed class ReferenceDecoder
{
    private readonly JsonElement root;

    private ReferenceDecoder(string name)
    {
        Name = name;
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, name + ".json")));
        root = document.RootElement.Clone();
    }

    /// <summary>The names of all models.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [.. Directory.GetFiles(Folder, "*.json").Select(path => Path.GetFileNameWithoutExtension(path)!).Order(StringComparer.Ordinal)];

    private static string Folder => Path.Combine(AppContext.BaseDirectory, "Corpus", "decoders");

    public string Name { get; }

    public string ConfigJson => root.GetProperty("config").GetRawText();

    /// <summary>The tokens of the text.</summary>
    public long[] Tokens => [.. root.GetProperty("tokens").EnumerateArray().Select(token => token.GetInt64())];

    /// <summary>Positions after which the logits are known.</summary>
    public int[] Positions => [.. root.GetProperty("positions").EnumerateArray().Select(position => position.GetInt32())];

    /// <summary>The logits [position][token] after each of <see cref="Positions"/>.</summary>
    public double[][] Logits =>
        [.. root.GetProperty("logits").EnumerateArray().Select(row => row.EnumerateArray().Select(value => value.GetDouble()).ToArray())];

    public static ReferenceDecoder Load(string name) => new(name);

    /// <summary>The tensors, in the script's order.</summary>
    public IEnumerable<(string Name, long[] Shape, float[] Values)> Tensors()
    {
        var seed = 0UL;
        foreach (var tensor in root.GetProperty("tensors").EnumerateArray())
        {
            long[] shape = [.. tensor.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64())];
            var (mean, spread) = (tensor.GetProperty("mean").GetDouble(), tensor.GetProperty("spread").GetDouble());
            var values = new float[shape.Aggregate((a, b) => a * b)];
            for (var i = 0; i < values.Length; i++)
            {
                values[i] = (float)(mean + (spread * ((2 * ((SplitMix(++seed) >> 40) / (double)(1 << 24))) - 1)));
            }

            yield return (tensor.GetProperty("name").GetString()!, shape, values);
        }
    }

    /// <summary>Writes the model as a checkpoint, with a tokenizer of bytes.</summary>
    public string Write(string folder)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "config.json"), ConfigJson);
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), TinyLlama.ByteTokenizer(addsBos: true));
        SafetensorsWriter.Write(
            Path.Combine(folder, "model.safetensors"),
            [.. Tensors().Select(tensor => SafetensorsTensor.FromFloats(tensor.Name, ElementType.F32, tensor.Shape, tensor.Values))]);
        return folder;
    }

    /// <summary>The generator of Steele, Lea and Flood (2014).</summary>
    private static ulong SplitMix(ulong seed)
    {
        var z = seed * 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
