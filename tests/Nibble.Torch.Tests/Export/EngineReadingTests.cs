using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Export;

/// <summary>
/// What engines conclude from our files about which layers are quantized, by their rules, which are written here after their sources: vllm-project/vllm
/// (<c>gptq_utils.py</c>, <c>quant_utils.py</c>, <c>compressed_tensors/utils.py</c>), ModelCloud/GPTQModel (<c>config.py</c>, <c>loader.py</c>),
/// huggingface/optimum (<c>gptq/quantizer.py</c>), huggingface/transformers (<c>integrations/awq.py</c>), casper-hansen/AutoAWQ (<c>utils/module.py</c>),
/// vllm-project/compressed-tensors (<c>match.py</c>).
/// </summary>
public sealed class EngineReadingTests : IDisposable
{
    private static readonly Dictionary<string, string[]> Fused =
        new() { ["qkv_proj"] = ["q_proj", "k_proj", "v_proj"], ["gate_up_proj"] = ["gate_proj", "up_proj"] };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string, string> Cases()
    {
        var cases = new TheoryData<string, string>();
        foreach (var format in (string[])["gptq", "gptq-v2", "awq", "artifact"])
        {
            foreach (var quantized in (string[])["all", "no down_proj", "only block 1", "no qkv of block 0", "only attention", "with head", "one layer"])
            {
                cases.Add(format, quantized);
            }
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void EnginesSeeWhichLayersAreQuantized(string format, string quantized)
    {
        // AWQ's outputs come in eights, which the feed-forward layers of this model do not.
        bool Wanted(string name) => (format != "awq" || !name.Contains("mlp", StringComparison.Ordinal)) && quantized switch
        {
            "all" => name != "lm_head",
            "no down_proj" => name != "lm_head" && !name.EndsWith("down_proj", StringComparison.Ordinal),
            "only block 1" => name.Contains("layers.1.", StringComparison.Ordinal),
            "no qkv of block 0" => name != "lm_head" && !Regex.IsMatch(name, @"layers\.0\.self_attn\.[qkv]_proj"),
            "only attention" => name.Contains("self_attn", StringComparison.Ordinal),
            "with head" => true,
            _ => name == "model.layers.0.self_attn.o_proj",
        };

        // A head of 258 rows is none of AWQ's either.
        var model = Model(name => Wanted(name) && (format != "awq" || name != "lm_head"));
        QuantizedModelFile.Save(model, folder.File("artifact"));
        if (format != "artifact")
        {
            var target = format == "gptq" ? CheckpointFormat.Gptq : format == "awq" ? CheckpointFormat.Awq : CheckpointFormat.GptqV2;
            CheckpointExporter.Run(folder.File("artifact"), folder.File(format), target);
        }

        var config = JsonNode.Parse(File.ReadAllText(folder.File($"{format}/config.json")))!.AsObject();
        var said = config["quantization_config"]!.AsObject();
        var truth = model.Layers.Select(layer => layer.Name).ToHashSet();
        var all = TinyNames().ToList();
        Assert.All(all, name => Assert.All(Readers(format), reader =>
            Assert.True(reader.Reads(said, name) == truth.Contains(name),
                $"{reader.Engine} takes {name} for {(truth.Contains(name) ? "float" : "quantized")}")));

        // vLLM asks for wholes, all of whose parts are of one kind in these models.
        foreach (var whole in all.Where(name => name.EndsWith("q_proj", StringComparison.Ordinal))
            .Select(name => name.Replace("q_proj", "qkv_proj", StringComparison.Ordinal))
            .Concat(all.Where(name => name.EndsWith("up_proj", StringComparison.Ordinal))
                .Select(name => name.Replace("up_proj", "gate_up_proj", StringComparison.Ordinal))))
        {
            var part = whole.Replace("qkv_proj", "q_proj", StringComparison.Ordinal).Replace("gate_up_proj", "up_proj", StringComparison.Ordinal);
            Assert.All(Readers(format).Where(reader => reader.Engine.StartsWith("vLLM", StringComparison.Ordinal)), reader =>
                Assert.True(reader.Reads(said, whole) == truth.Contains(part), $"{reader.Engine} is wrong about {whole}"));
        }

        Assert.Equal(truth.Contains("lm_head"), format.StartsWith("gptq", StringComparison.Ordinal) ? (bool)said["lm_head"]! : truth.Contains("lm_head"));
    }

    /// <summary>Fields that engines look at besides, and what they ask for that a checkpoint cannot give.</summary>
    [Fact]
    public void GptqConfigurationsHaveWhatEnginesLookAt()
    {
        QuantizedModelFile.Save(Model(name => name != "lm_head" && !name.EndsWith("k_proj", StringComparison.Ordinal)), folder.File("artifact"));
        var result = CheckpointExporter.Run(folder.File("artifact"), folder.File("gptq"), CheckpointFormat.Gptq);
        var said = JsonNode.Parse(File.ReadAllText(folder.File("gptq/config.json")))!["quantization_config"]!.AsObject();
        foreach (var key in (string[])["quant_method", "bits", "group_size", "sym", "desc_act", "lm_head",
            "checkpoint_format", "format", "pack_dtype", "dynamic", "modules_in_block_to_quantize"])
        {
            Assert.True(said.ContainsKey(key), key);
        }

        Assert.Contains(result.Notes, note =>
            note.Contains("refuses a fused layer that is partly quantized: model.layers.0.self_attn.k_proj and 1 more", StringComparison.Ordinal));
        Assert.Contains(result.Notes, note =>
            note.Contains("GPTQModel loads asymmetric version 1 weights only if it wrote them itself", StringComparison.Ordinal));
        var second = CheckpointExporter.Run(folder.File("artifact"), folder.File("v2"), CheckpointFormat.GptqV2);
        Assert.DoesNotContain(second.Notes, note => note.Contains("GPTQModel", StringComparison.Ordinal));
    }

    private static IEnumerable<(string Engine, Func<JsonObject, string, bool> Reads)> Readers(string format) => format switch
    {
        "awq" =>
        [
            ("vLLM", (said, name) => IsHeadAllowed(said, name) && !Parts(name).Any(part => Listed(said["modules_to_not_convert"]).Any(part.Contains))),
            ("vLLM before it knew fused layers", (said, name) => IsHeadAllowed(said, name) && !Listed(said["modules_to_not_convert"]).Any(name.Contains)),
            ("AutoAWQ and transformers", (said, name) => name != "lm_head" && !Fused.ContainsKey(name[(name.LastIndexOf('.') + 1)..])
                && !Listed(said["modules_to_not_convert"]).Any(name.Contains)),
        ],
        "artifact" =>
        [
            ("vLLM, compressed-tensors", (said, name) => !Parts(name).All(part => Matches(said["ignore"], part))
                && said["config_groups"]!.AsObject().Any(group => Parts(name).All(part => IsTarget(group.Value!, part)))),
            ("transformers, compressed-tensors", (said, name) => !Matches(said["ignore"], name)
                && said["config_groups"]!.AsObject().Any(group => IsTarget(group.Value!, name))),
        ],
        _ =>
        [
            ("vLLM", (said, name) => IsHeadAllowed(said, name) && Dynamic(said, name)
                && (said["modules_in_block_to_quantize"] is not { } modules || Parts(name).All(part => Flat(modules).Any(part.Contains)))),
            ("vLLM before it knew modules_in_block_to_quantize", (said, name) => IsHeadAllowed(said, name) && Dynamic(said, name)),
            ("GPTQModel", (said, name) => IsHeadAllowed(said, name) && Dynamic(said, name)),
            ("transformers, optimum", (said, name) => name == "lm_head" ? (bool)said["lm_head"]!
                : said["modules_in_block_to_quantize"] is not { } modules || Flat(modules).Any(name.EndsWith)),
        ],
    };

    private static bool IsHeadAllowed(JsonObject said, string name) => name != "lm_head" || said["lm_head"] is { } head && (bool)head;

    /// <summary>The first pattern that matches decides; one that begins with -: leaves the layer float.</summary>
    private static bool Dynamic(JsonObject said, string name)
    {
        foreach (var (pattern, _) in said["dynamic"]?.AsObject() ?? [])
        {
            if (pattern.StartsWith("-:", StringComparison.Ordinal) && Regex.IsMatch(name, $@"\A(?:{pattern[2..]})"))
            {
                return false;
            }
        }

        return true;
    }

    private static bool Matches(JsonNode? list, string name) =>
        Listed(list).Any(target => target.StartsWith("re:", StringComparison.Ordinal) ? Regex.IsMatch(name, $@"\A(?:{target[3..]})") : target == name);

    private static bool IsTarget(JsonNode group, string name) => Matches(group["targets"], name) || Listed(group["targets"]).Contains("Linear");

    private static IEnumerable<string> Listed(JsonNode? list) => list?.AsArray().Select(item => (string)item!) ?? [];

    private static IEnumerable<string> Flat(JsonNode lists) => lists.AsArray().SelectMany(list => list!.AsArray()).Select(item => (string)item!);

    private static IEnumerable<string> Parts(string name)
    {
        var own = name[(name.LastIndexOf('.') + 1)..];
        return Fused.TryGetValue(own, out var parts) ? parts.Select(part => name[..^own.Length] + part) : [name];
    }

    private static IEnumerable<string> TinyNames() => new TinyLlama().Tensors()
        .Where(tensor => tensor.Value.Shape.Length == 2 && !tensor.Key.Contains("embed", StringComparison.Ordinal))
        .Select(tensor => tensor.Key[..^".weight".Length]);

    private QuantizedModel Model(Predicate<string> wanted)
    {
        var llama = new TinyLlama();
        var source = llama.Write(folder.File("source"));
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(8)) { ScalePrecision = ScalePrecision.Float16 };
        var layers = new List<QuantizedLayer>();
        var floats = new List<FloatTensor>();
        foreach (var (name, (shape, values)) in llama.Tensors())
        {
            var layer = name[..name.LastIndexOf('.')];
            if (shape.Length == 2 && !name.Contains("embed", StringComparison.Ordinal) && wanted(layer))
            {
                layers.Add(new QuantizedLayer(layer, RoundToNearest.Quantize(values, (int)shape[0], (int)shape[1], scheme), Input: null));
            }
            else
            {
                floats.Add(new FloatTensor(name, [.. shape.Select(size => (int)size)], values, ElementType.F32));
            }
        }

        // Version 1 of GPTQ's format has no zero points of 0.
        foreach (var layer in layers)
        {
            for (var i = 0; i < layer.Weight.ZeroPoints.Length; i++)
            {
                layer.Weight.ZeroPoints[i] = Math.Max(layer.Weight.ZeroPoints[i], (sbyte)-7);
            }
        }

        return new QuantizedModel(
            llama.ConfigJson, layers, floats, new Recipe("test", [new RecipeRule("*", scheme)]),
            new Provenance("0.1.0", "ptq", 1, new Dictionary<string, string>(), new Dictionary<string, double>()), source);
    }
}
