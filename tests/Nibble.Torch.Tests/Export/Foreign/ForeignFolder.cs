using Nibble.Files;
using System.Text.Json.Nodes;
using Nibble.Formats.Safetensors;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Export.Foreign;

/// <summary>A tiny decoder some of whose layers a tool has quantized, and the same decoder with the float values that those stand for.</summary>
internal sealed class ForeignFolder
{
    private readonly TinyLlama llama;
    private readonly SortedDictionary<string, (long[] Shape, float[] Values)> floats;

    public ForeignFolder(TinyLlama? llama = null)
    {
        this.llama = llama ?? new TinyLlama();
        floats = this.llama.Tensors();
    }

    /// <summary>The text of <c>config.json</c> without what a tool adds.</summary>
    public string ConfigJson => llama.ConfigJson;

    /// <summary>The quantized layers.</summary>
    public List<ForeignLayer> Layers { get; } = [];

    /// <summary>Quantizes layers.</summary>
    /// <param name="wanted">Which, by name; those whose inputs are no whole words, the down projections, stay float in any case.</param>
    /// <param name="bits">Bits of a code.</param>
    /// <param name="group">Columns of a group; all where -1.</param>
    /// <param name="symmetric">Whether all zeros are in the middle.</param>
    /// <param name="leastZero">The lowest zero of others.</param>
    /// <param name="scattered">Whether groups hold scattered columns.</param>
    public ForeignFolder Quantize(Predicate<string> wanted, int bits, int group, bool symmetric, int leastZero = 1, bool scattered = false)
    {
        foreach (var (name, (shape, _)) in floats.ToList())
        {
            var layer = name[..name.LastIndexOf('.')];
            if (shape.Length == 2 && name.EndsWith(".weight", StringComparison.Ordinal) && shape[1] % 8 == 0
                && wanted(layer) && Layers.All(other => other.Name != layer))
            {
                Layers.Add(ForeignLayer.Draw(layer, (int)shape[0], (int)shape[1], bits, group, symmetric, leastZero, scattered));
            }
        }

        return this;
    }

    /// <summary>Changes a layer.</summary>
    public void Change(Predicate<string> wanted, Func<ForeignLayer, ForeignLayer> change)
    {
        for (var i = 0; i < Layers.Count; i++)
        {
            Layers[i] = wanted(Layers[i].Name) ? change(Layers[i]) : Layers[i];
        }
    }

    /// <summary>Writes the tool's folder.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="pack">A layer's tensors.</param>
    /// <param name="quantization">What <c>quantization_config</c> says; null where it is not there.</param>
    /// <param name="key">The key that it has.</param>
    /// <param name="weights">The name of the file of weights.</param>
    /// <param name="further">Other tensors.</param>
    /// <param name="change">Changes the tensors of the layers before they are written.</param>
    public string Write(
        string folder, Func<ForeignLayer, IEnumerable<SafetensorsTensor>> pack, string? quantization,
        string key = "quantization_config", string weights = "model.safetensors",
        IEnumerable<SafetensorsTensor>? further = null, Func<IEnumerable<SafetensorsTensor>, IEnumerable<SafetensorsTensor>>? change = null)
    {
        llama.Write(folder);
        File.Delete(Path.Combine(folder, "model.safetensors"));
        var config = JsonNode.Parse(llama.ConfigJson)!.AsObject();
        if (quantization is not null)
        {
            config[key] = JsonNode.Parse(quantization);
        }

        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        var packed = Layers.SelectMany(pack);
        var own = Layers.Select(layer => layer.Name + ".weight").ToHashSet();
        SafetensorsWriter.Write(
            Path.Combine(folder, weights),
            [
                .. change?.Invoke(packed) ?? packed,
                .. floats.Where(tensor => !own.Contains(tensor.Key))
                    .Select(tensor => SafetensorsTensor.FromFloats(tensor.Key, ElementType.F32, tensor.Value.Shape, tensor.Value.Values)),
                .. further ?? [],
            ]);
        return folder;
    }

    /// <summary>Writes the folder of float values.</summary>
    public string WriteFloat(string folder) => llama.Write(folder, tensors =>
    {
        foreach (var layer in Layers)
        {
            tensors[layer.Name + ".weight"] = ([layer.Rows, layer.Columns], layer.Values());
        }
    });
}
