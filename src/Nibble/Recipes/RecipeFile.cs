using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Nibble.Files;
using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>Recipes as YAML or JSON.</summary>
/// <remarks>
/// <code>
/// name: mine
/// preset: w4a16-g32          # optional: its rules follow those below
/// rules:                     # the first rule whose pattern matches a layer decides
///   - pattern: "*.down_proj" # quote a pattern that starts with *
///     weights: { bits: 8, symmetric: true, granularity: group, groupSize: 32, scale: float16, range: minmax }  # or: float
///     activations: { bits: 8, symmetric: true, granularity: token }                                            # or: float
///     algorithms: [smoothquant, gptq]                                                                          # default: rtn
///     method: ptq                                                                                              # or: qat; default: the run's
/// rotation: none             # or: hadamard
/// keyValueCache:             # or: float
///   keys: { bits: 8, symmetric: false, granularity: token }   # or: float
///   values: { bits: 8, symmetric: false }                     # or: float
/// ptq: { windows: 64, sequenceLength: 256, dampening: 0.01, activationOrder: weight, sequential: true }
/// qat: { estimator: learnedScale, steps: 300, batchSize: 8, sequenceLength: 256, learningRate: 0.001 }
/// </code>
/// Weights: <c>bits</c> 2 to 8 (with <c>stretched: true</c> on the grid without zero), or <c>ternary: true</c>; <c>symmetric</c> (default: true);
/// <c>granularity</c> tensor, channel (default) or group (default if <c>groupSize</c> is given); <c>scale</c> float16 (default), float32 or powerOfTwo;
/// <c>range</c> minmax (default), mse or search.
/// Activations: <c>granularity</c> token (default, dynamic) or tensor (static); <c>observer</c> minmax (default), movingAverage, percentile, mse or
/// entropy; <c>scale</c> float32 (default), float16 or powerOfTwo.
/// Keys take the same settings as activations, except that their <c>granularity</c> is token (default) or channel, and <c>observer</c> applies per channel
/// only. Values are per token.
/// <c>algorithms</c> are names from <see cref="WeightAlgorithms.KnownNames"/>. <c>method</c> is ptq or qat. Set inside <c>weights</c> or
/// <c>activations</c>, it overrides the rule's method. Recipes are written in that form.
/// Settings missing from <c>ptq</c> and <c>qat</c> have the defaults of <see cref="PtqSettings"/> and <see cref="QatSettings"/>, or of the preset.
/// </remarks>
public static class RecipeFile
{
    private const string Float = "float";
    private const string Cache = "keyValueCache";
    private const string MethodKey = "method";

    private static readonly string[] RecipeKeys = ["name", "preset", "rules", "rotation", "keyValueCache", "ptq", "qat"];
    private static readonly string[] RuleKeys = ["pattern", "weights", "activations", "algorithms", MethodKey];
    private static readonly string[] WeightKeys = ["bits", "ternary", "stretched", "symmetric", "granularity", "groupSize", "scale", "range", MethodKey];
    private static readonly string[] StaticKeys = ["bits", "symmetric", "granularity", "scale", "observer"];
    private static readonly string[] ActivationKeys = [.. StaticKeys, MethodKey];

    private static readonly string[] CacheKeys = ["keys", "values"];
    private static readonly string[] ValueKeys = ["bits", "symmetric", "scale"];

    private static readonly string[] PtqKeys =
    [
        "windows", "sequenceLength", "dampening", "activationOrder", "asymmetry", "sequential", "scalingGrid", "learningSteps", "learningBatch", "learningRate",
    ];

    private static readonly Dictionary<string, string> WeightGranularities = new() { ["tensor"] = "tensor", ["channel"] = "channel", ["group"] = "group" };
    private static readonly Dictionary<string, Granularity> ActivationGranularities = new() { ["token"] = Granularity.Token, ["tensor"] = Granularity.Tensor };
    private static readonly Dictionary<string, Granularity> KeyGranularities = new() { ["token"] = Granularity.Token, ["channel"] = Granularity.Channel };
    private static readonly Dictionary<string, ScalePrecision> Scales =
        new() { ["float16"] = ScalePrecision.Float16, ["float32"] = ScalePrecision.Float32, ["powerOfTwo"] = ScalePrecision.PowerOfTwo };

    private static readonly Dictionary<string, WeightRange> Ranges =
        new() { ["minmax"] = WeightRange.MinMax, ["mse"] = WeightRange.Mse, ["search"] = WeightRange.Search };

    private static readonly Dictionary<string, ObserverKind> Observers = new()
    {
        ["minmax"] = ObserverKind.MinMax,
        ["movingAverage"] = ObserverKind.MovingAverage,
        ["percentile"] = ObserverKind.Percentile,
        ["mse"] = ObserverKind.Mse,
        ["entropy"] = ObserverKind.Entropy,
    };

    private static readonly Dictionary<string, Method?> Methods = new() { ["ptq"] = Method.Ptq, ["qat"] = Method.Qat };
    private static readonly Dictionary<string, Rotation> Rotations = new() { ["none"] = Rotation.None, ["hadamard"] = Rotation.Hadamard };

    private static readonly Dictionary<string, ActivationOrder> Orders = new()
    {
        ["none"] = ActivationOrder.None,
        ["weight"] = ActivationOrder.Weight,
        ["group"] = ActivationOrder.Group,
    };

    /// <summary>The same layout and line endings on every system, so that equal values give equal bytes.</summary>
    internal static readonly JsonWriterOptions JsonOptions = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Loads a recipe.</summary>
    /// <param name="nameOrPath">A preset's name, or the path of a .yaml, .yml or .json file.</param>
    /// <exception cref="NibbleException">There is no such preset or file, or the file is not a valid recipe.</exception>
    public static Recipe Load(string nameOrPath)
    {
        ArgumentNullException.ThrowIfNull(nameOrPath);
        if (Path.GetExtension(nameOrPath) is not (".yaml" or ".yml" or ".json"))
        {
            return File.Exists(nameOrPath)
                ? throw new NibbleException($"{nameOrPath}: a recipe's file name must end in .yaml, .yml or .json.")
                : RecipePresets.Parse(nameOrPath);
        }

        return File.Exists(nameOrPath)
            ? ParseYaml(InputFile.ReadText(nameOrPath), nameOrPath)
            : throw new NibbleException($"There is no recipe file {nameOrPath}.");
    }

    /// <summary>Reads a recipe from YAML. JSON is valid YAML.</summary>
    /// <param name="text">The text, at most 2^20 characters, without anchors and aliases.</param>
    /// <param name="source">The file's path or another name, for messages.</param>
    /// <exception cref="NibbleException">The text is not a valid recipe. The message gives the line, the column and the known keys.</exception>
    public static Recipe ParseYaml(string text, string source)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(source);
        var map = YamlMap.Parse(text, source, RecipeKeys);
        var preset = map.Text("preset") is { } presetName ? Preset(map, presetName) : null;
        if (preset is null && !map.Has("rules"))
        {
            throw map.Fault("rules", "a recipe needs rules or a preset");
        }

        var rules = (map.Maps("rules", RuleKeys) ?? []).Select(Rule).Concat(preset?.Rules ?? []);
        return new Recipe(map.Text("name") ?? preset?.Name ?? Path.GetFileNameWithoutExtension(source), [.. rules])
        {
            Rotation = map.Choice("rotation", preset?.Rotation ?? Rotation.None, Rotations),
            KeyValueCache = map.Has(Cache) ? KeyValueCache(map) : preset?.KeyValueCache,
            Ptq = map.Map("ptq", PtqKeys) is { } ptq ? Ptq(ptq, preset?.Ptq ?? new PtqSettings()) : preset?.Ptq ?? new PtqSettings(),
            Qat = map.Map("qat", QatSettingsText.Keys) is { } qat ? QatSettingsText.Parse(qat, preset?.Qat ?? new QatSettings())
                : preset?.Qat ?? new QatSettings(),
        };
    }

    /// <summary>Writes a recipe as JSON, from which <see cref="ParseYaml"/> reads an equal recipe. Equal recipes give equal text.</summary>
    /// <exception cref="NibbleException">A rule has a granularity that is invalid in its place: weights per token, activations per channel or group, or ternary
    /// activations.</exception>
    public static string ToJson(Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, JsonOptions))
        {
            Write(writer, recipe);
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    /// <summary>Writes the output of <see cref="ToJson"/> as one value of a larger document.</summary>
    internal static void Write(Utf8JsonWriter writer, Recipe recipe)
    {
        writer.WriteStartObject();
        writer.WriteString("name", recipe.Name);
        writer.WritePropertyName("rules");
        WriteRules(writer, recipe.Rules);
        writer.WriteString("rotation", Word(Rotations, recipe.Rotation));
        WriteKeyValueCache(writer, recipe.KeyValueCache);
        WritePtq(writer, recipe.Ptq);
        QatSettingsText.Write(writer, recipe.Qat);
        writer.WriteEndObject();
    }

    /// <summary>Writes a recipe's list of rules.</summary>
    internal static void WriteRules(Utf8JsonWriter writer, IEnumerable<RecipeRule> rules)
    {
        writer.WriteStartArray();
        foreach (var rule in rules)
        {
            writer.WriteStartObject();
            writer.WriteString("pattern", rule.Pattern);
            WriteWeights(writer, rule);
            WriteActivations(writer, rule);
            WriteAlgorithms(writer, rule);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    private static Recipe Preset(YamlMap map, string name)
    {
        try
        {
            return RecipePresets.Parse(name);
        }
        catch (NibbleException exception)
        {
            throw map.Fault("preset", exception.Message);
        }
    }

    private static RecipeRule Rule(YamlMap map)
    {
        var pattern = map.Text("pattern") ?? throw map.Fault("pattern", "a rule needs a pattern");
        if (!map.Has("weights"))
        {
            throw map.Fault("weights", $"the rule for {pattern} needs weights: a scheme or the word {Float}");
        }

        var weights = map.MapUnless("weights", Float, WeightKeys);
        var activations = map.MapUnless("activations", Float, ActivationKeys);
        if (weights is null && map.Has(MethodKey))
        {
            throw map.Fault(MethodKey, "a layer that stays float has no method");
        }

        var method = map.Choice(MethodKey, absent: null, Methods);
        return new RecipeRule(
            pattern,
            weights is null ? null : Weights(weights),
            activations is null ? null : Activations(activations),
            weights?.Choice("range", WeightRange.MinMax, Ranges) ?? WeightRange.MinMax)
        {
            Algorithms = map.Has("algorithms") ? Algorithms(map, weights is not null) : WeightAlgorithms.RoundToNearest,
            WeightMethod = weights?.Choice(MethodKey, method, Methods),
            ActivationMethod = activations?.Choice(MethodKey, method, Methods),
        };
    }

    private static WeightAlgorithms Algorithms(YamlMap map, bool quantized)
    {
        if (!quantized)
        {
            throw map.Fault("algorithms", "a layer that stays float has no algorithms");
        }

        var names = map.Texts("algorithms")!;
        try
        {
            return WeightAlgorithms.Parse(names);
        }
        catch (NibbleException exception)
        {
            throw map.Fault("algorithms", exception.Message);
        }
    }

    private static QuantizationScheme Weights(YamlMap map)
    {
        var size = map.Integer("groupSize", 0, min: 1);
        var granularity = map.Choice("granularity", size > 0 ? "group" : "channel", WeightGranularities);
        if (granularity == "group" != size > 0)
        {
            throw map.Fault(size > 0 ? "granularity" : "groupSize", "groupSize and granularity: group go together");
        }

        var shared = granularity switch { "group" => Granularity.Group(size), "tensor" => Granularity.Tensor, _ => Granularity.Channel };
        var symmetric = map.Flag("symmetric", absent: true);
        var ternary = map.Flag("ternary", absent: false);
        if (ternary && (map.Has("bits") || !symmetric))
        {
            throw map.Fault("ternary", "ternary weights are always symmetric and take no bits");
        }

        var stretched = map.Flag("stretched", absent: false);
        if (stretched && (ternary || !symmetric))
        {
            throw map.Fault("stretched", "stretched weights are always symmetric and cannot be ternary");
        }

        var scheme = ternary ? QuantizationScheme.CreateTernary(shared)
            : stretched ? QuantizationScheme.CreateStretched(Bits(map), shared)
            : new QuantizationScheme(Bits(map), symmetric, shared);
        return scheme with { ScalePrecision = map.Choice("scale", ScalePrecision.Float16, Scales) };
    }

    private static ActivationRule Activations(YamlMap map)
    {
        var scheme = new QuantizationScheme(
            Bits(map), map.Flag("symmetric", absent: true), map.Choice("granularity", Granularity.Token, ActivationGranularities))
        {
            ScalePrecision = map.Choice("scale", ScalePrecision.Float32, Scales),
        };
        return new ActivationRule(scheme, map.Choice("observer", ObserverKind.MinMax, Observers));
    }

    private static KeyValueCacheRule? KeyValueCache(YamlMap map)
    {
        if (map.MapUnless(Cache, Float, CacheKeys) is not { } cache)
        {
            return null;
        }

        var keys = cache.MapUnless("keys", Float, StaticKeys);
        var values = cache.MapUnless("values", Float, ValueKeys);
        if (keys is null && values is null)
        {
            throw map.Fault(Cache, $"{Cache} needs keys or values: a scheme or the word {Float}");
        }

        var granularity = keys?.Choice("granularity", Granularity.Token, KeyGranularities) ?? Granularity.Token;
        if (keys is not null && keys.Has("observer") && granularity is PerToken)
        {
            throw keys.Fault("observer", "an observer sets the ranges of keys per channel; keys per token have no fixed range");
        }

        return new KeyValueCacheRule(
            keys is null ? null : CacheScheme(keys, granularity),
            values is null ? null : CacheScheme(values, Granularity.Token),
            keys?.Choice("observer", ObserverKind.MinMax, Observers) ?? ObserverKind.MinMax);
    }

    private static QuantizationScheme CacheScheme(YamlMap map, Granularity granularity) => new(Bits(map), map.Flag("symmetric", absent: true), granularity)
    {
        ScalePrecision = map.Choice("scale", ScalePrecision.Float32, Scales),
    };

    private static int Bits(YamlMap map) => map.Has("bits")
        ? map.Integer("bits", absent: 0, QuantizationScheme.MinBits, QuantizationScheme.MaxBits)
        : throw map.Fault("bits", $"bits are missing, expected an integer from {QuantizationScheme.MinBits} to {QuantizationScheme.MaxBits}");

    private static PtqSettings Ptq(YamlMap map, PtqSettings defaults) => new()
    {
        Windows = map.Integer("windows", defaults.Windows, min: 1),
        SequenceLength = map.Integer("sequenceLength", defaults.SequenceLength, min: 2),
        Dampening = map.Number("dampening", defaults.Dampening, min: double.Epsilon, max: 1),
        ActivationOrder = map.Choice("activationOrder", defaults.ActivationOrder, Orders),
        Asymmetry = map.Number("asymmetry", defaults.Asymmetry, min: double.Epsilon, max: 1),
        Sequential = map.Flag("sequential", defaults.Sequential),
        ScalingGrid = map.Integer("scalingGrid", defaults.ScalingGrid, min: 1),
        LearningSteps = map.Integer("learningSteps", defaults.LearningSteps, min: 1),
        LearningBatch = map.Integer("learningBatch", defaults.LearningBatch, min: 1),
        LearningRate = map.Number("learningRate", defaults.LearningRate, min: double.Epsilon),
    };

    private static void WriteWeights(Utf8JsonWriter writer, RecipeRule rule)
    {
        if (rule.Weights is not { } scheme)
        {
            writer.WriteString("weights", Float);
            return;
        }

        writer.WriteStartObject("weights");
        if (scheme.Format == CodeFormat.Ternary)
        {
            writer.WriteBoolean("ternary", true);
        }
        else
        {
            writer.WriteNumber("bits", scheme.Bits);
        }

        if (scheme.Format == CodeFormat.Stretched)
        {
            writer.WriteBoolean("stretched", true);
        }

        writer.WriteBoolean("symmetric", scheme.Symmetric);
        writer.WriteString("granularity", scheme.Granularity switch
        {
            PerTensor => "tensor",
            PerChannel => "channel",
            PerGroup => "group",
            _ => throw Misplaced(rule, "weights", scheme),
        });
        if (scheme.Granularity is PerGroup { Size: var size })
        {
            writer.WriteNumber("groupSize", size);
        }

        writer.WriteString("scale", Word(Scales, scheme.ScalePrecision));
        writer.WriteString("range", Word(Ranges, rule.Range));
        WriteMethod(writer, rule.WeightMethod);
        writer.WriteEndObject();
    }

    private static void WriteActivations(Utf8JsonWriter writer, RecipeRule rule)
    {
        if (rule.Activations is not { } activations)
        {
            writer.WriteString("activations", Float);
            return;
        }

        var scheme = activations.Scheme;
        if (scheme.Format == CodeFormat.Ternary || scheme.Granularity is not (PerToken or PerTensor))
        {
            throw Misplaced(rule, "activations", scheme);
        }

        writer.WriteStartObject("activations");
        writer.WriteNumber("bits", scheme.Bits);
        writer.WriteBoolean("symmetric", scheme.Symmetric);
        writer.WriteString("granularity", Word(ActivationGranularities, scheme.Granularity));
        writer.WriteString("scale", Word(Scales, scheme.ScalePrecision));
        writer.WriteString("observer", Word(Observers, activations.Observer));
        WriteMethod(writer, rule.ActivationMethod);
        writer.WriteEndObject();
    }

    /// <summary>Writes nothing if the run decides, so that recipes written before methods existed keep their text.</summary>
    private static void WriteMethod(Utf8JsonWriter writer, Method? method)
    {
        if (method is not null)
        {
            writer.WriteString(MethodKey, Word(Methods, method));
        }
    }

    private static void WriteAlgorithms(Utf8JsonWriter writer, RecipeRule rule)
    {
        if (rule.Weights is null)
        {
            return;
        }

        WriteNames(writer, "algorithms", rule.Algorithms.Names);
    }

    /// <summary>Writes a list of names.</summary>
    internal static void WriteNames(Utf8JsonWriter writer, string key, IEnumerable<string> names)
    {
        writer.WriteStartArray(key);
        foreach (var name in names)
        {
            writer.WriteStringValue(name);
        }

        writer.WriteEndArray();
    }

    private static void WriteKeyValueCache(Utf8JsonWriter writer, KeyValueCacheRule? rule)
    {
        if (rule is null)
        {
            writer.WriteString(Cache, Float);
            return;
        }

        writer.WriteStartObject(Cache);
        WriteCacheScheme("keys", rule.Keys, () =>
        {
            writer.WriteString("granularity", Word(KeyGranularities, rule.Keys!.Granularity));
            if (rule.HasStaticKeys)
            {
                writer.WriteString("observer", Word(Observers, rule.Observer));
            }
        });
        WriteCacheScheme("values", rule.Values, () => { });
        writer.WriteEndObject();

        void WriteCacheScheme(string key, QuantizationScheme? scheme, Action rest)
        {
            if (scheme is null)
            {
                writer.WriteString(key, Float);
                return;
            }

            writer.WriteStartObject(key);
            writer.WriteNumber("bits", scheme.Bits);
            writer.WriteBoolean("symmetric", scheme.Symmetric);
            writer.WriteString("scale", Word(Scales, scheme.ScalePrecision));
            rest();
            writer.WriteEndObject();
        }
    }

    private static void WritePtq(Utf8JsonWriter writer, PtqSettings ptq)
    {
        writer.WriteStartObject("ptq");
        writer.WriteNumber("windows", ptq.Windows);
        writer.WriteNumber("sequenceLength", ptq.SequenceLength);
        writer.WriteNumber("dampening", ptq.Dampening);
        writer.WriteString("activationOrder", Word(Orders, ptq.ActivationOrder));
        writer.WriteNumber("asymmetry", ptq.Asymmetry);
        writer.WriteBoolean("sequential", ptq.Sequential);
        writer.WriteNumber("scalingGrid", ptq.ScalingGrid);
        writer.WriteNumber("learningSteps", ptq.LearningSteps);
        writer.WriteNumber("learningBatch", ptq.LearningBatch);
        writer.WriteNumber("learningRate", ptq.LearningRate);
        writer.WriteEndObject();
    }

    /// <summary>The word for a value.</summary>
    internal static string Word<T>(Dictionary<string, T> words, T value) => words.First(pair => EqualityComparer<T>.Default.Equals(pair.Value, value)).Key;

    private static NibbleException Misplaced(RecipeRule rule, string place, QuantizationScheme scheme) =>
        new($"The rule for {rule.Pattern} has {place} of scheme '{scheme}'; weights must be per tensor, channel or group, activations per token or tensor.");
}
