using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq.Scaling;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>One run from a checkpoint to an artifact: a decoder block at a time, each written before the next is read.</summary>
internal sealed class PtqRun : IDisposable
{
    private readonly PtqOptions options;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private readonly LlamaCheckpoint checkpoint;
    private readonly PtqSource source;
    private readonly Recipe recipe;
    private readonly Device device;
    private readonly PtqJob job;
    private readonly QuantizedModel frame;
    private readonly CompressedTensorsFormat format;
    private readonly int layerCount;
    private readonly int headLayers;
    private readonly string[] streams;
    private readonly int windows;
    private readonly string? calibration;
    private readonly int length;
    private readonly List<string> warnings = [];
    private int layersDone;
    private TimeSpan learning;

    public PtqRun(PtqOptions options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        this.options = options;
        this.progress = progress;
        this.cancellation = cancellation;
        recipe = options.Recipe;
        recipe.Ptq.Validate();
        recipe.RequirePtq();
        device = TorchRuntime.Device(options.Device);
        if (Path.Exists(options.Output) && (options.Restart || !OutputJob.IsJoined(options.Output)))
        {
            throw new NibbleException($"{options.Output}: the output folder exists already; give another, or delete it first");
        }

        checkpoint = LlamaCheckpoint.Open(options.Model);
        try
        {
            source = new PtqSource(checkpoint, recipe, options.Seed);
            var names = LayerNames();
            var rules = names.Select(recipe.RuleFor).OfType<RecipeRule>().ToList();
            layerCount = rules.Count;
            if (recipe.KeyValueCache is null && options.Trials is null)
            {
                PostTrainingQuantizer.RequireLayers(layerCount, names, checkpoint.Name, recipe);
            }

            foreach (var (name, rows, columns) in LinearShapes().Where(layer => IsQuantized(layer.Name)))
            {
                QuantizedTensor.RequireSize($"{checkpoint.Name}: the weight of {name}", rows, columns);
            }

            headLayers = names.Contains(LlamaCheckpoint.HeadName) && recipe.RuleFor(LlamaCheckpoint.HeadName) is not null ? 1 : 0;
            format = CompressedTensorsLayer.FormatFor(rules.Select(rule => (rule.Weights!, rule.Activations?.Scheme)));
            streams = Streams([.. rules, .. names.SelectMany(name => options.Trials?.RulesFor(name) ?? [])]);
            length = Math.Min(recipe.Ptq.SequenceLength, checkpoint.Config.MaxSequence);
            windows = CountWindows(recipe.Ptq);
            RequireWindowSize();
            calibration = streams.Length == 0 ? null
                : string.Create(CultureInfo.InvariantCulture, $"{windows} windows of {length} tokens of {(options.Text!.Name == SelfText.Name ? "text that the float model wrote itself" : options.Text.Name)}");
            // Blocks are read when their turn comes, which may be after hours.
            checkpoint.RequireFinite();
            var hashes = checkpoint.Hashes();
            frame = new QuantizedModel(source.ConfigJson, [], [], recipe, new Provenance(Conversion.Version, "ptq", options.Seed, hashes, new Dictionary<string, double>()) { Calibration = calibration }, string.Empty);
            job = new PtqJob(options.Output, Identity(hashes), options.Restart);
        }
        catch
        {
            source?.Dispose();
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>What the run does with each layer, with other settings where those are given.</summary>
    public RunSummary Summarize(PtqSettings? settings = null)
    {
        var asked = recipe with { Ptq = settings ?? recipe.Ptq };
        return DecoderLayers.Summarize(source.Config, asked, Method.Ptq, streams.Length == 0 ? null : options.Text, options.Target,
            hasIdleData: streams.Length == 0 && options is { Text: not null, IsPart: false });
    }

    /// <summary>Decoder blocks.</summary>
    public int Blocks => checkpoint.Config.Layers;

    /// <summary>Bytes of the checkpoint's tensors.</summary>
    public long SourceBytes => checkpoint.Bytes;

    /// <summary>Layers to be quantized.</summary>
    public int LayerCount => layerCount;

    /// <summary>Whether the head is quantized too.</summary>
    public bool HasHead => headLayers > 0;

    /// <summary>Streams of activations that go from block to block.</summary>
    public int StreamCount => streams.Length;

    /// <summary>The blocks, and the head where it is quantized.</summary>
    private int Units => Blocks + headLayers;

    public QuantizationResult Run()
    {
        if (!job.Joined)
        {
            job.RequireSpace(CountBytes(), OuterBytes(), Units, streams.Length * StreamBytes(windows));
            try
            {
                Quantize();
                cancellation.ThrowIfCancellationRequested();
                job.Join(Join);
            }
            catch (NibbleException exception) when (exception is not DamagedFileException)
            {
                // A fault of the model, the text or the recipe: the same command would fail again, and another is another job.
                job.Abandon();
                throw;
            }
        }

        job.Finish(options.Output);
        var bytes = QuantizedModelFile.TensorBytes(options.Output);
        return new QuantizationResult(checkpoint.Name, layerCount, checkpoint.Bytes, bytes, calibration)
        {
            Summary = Summarize().With(warnings).WithSizes(bytes, checkpoint.Bytes),
        };
    }

    public void Dispose()
    {
        job.Dispose();
        source.Dispose();
        checkpoint.Dispose();
    }

    /// <summary>Quantizes one unit on the embedded text, as if nothing came before it, and throws the result away.</summary>
    public UnitTimes Probe(int number)
    {
        var embedding = Stopwatch.GetTimestamp();
        var inputs = streams.Select(name => Embed(job.Stream(name, number))).ToArray();
        var embedded = Stopwatch.GetElapsedTime(embedding).TotalSeconds;
        var started = Stopwatch.GetTimestamp();
        var outputs = QuantizeUnit(number, inputs);
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        Array.ForEach(outputs, stream => stream.Delete());
        var streaming = inputs.Sum(stream => stream.Visiting.TotalSeconds);
        job.Discard(streams, number);
        return new UnitTimes(windows, embedded, streaming, learning.TotalSeconds, recipe.Ptq.LearningSteps, seconds - streaming - learning.TotalSeconds);
    }

    /// <summary>Bytes of one stream.</summary>
    public long StreamBytes(int count) => (long)count * length * checkpoint.Config.HiddenSize * sizeof(float);

    /// <summary>Bytes of the artifact's file of tensors.</summary>
    public long CountBytes()
    {
        var layers = LayerNames().ToHashSet(StringComparer.Ordinal);
        var shapes = LlamaCheckpoint.BlockTensors(source.Config);
        var tensors = Enumerable.Range(0, Blocks)
            .SelectMany(block => shapes.Select(tensor => (Name: LlamaCheckpoint.BlockPrefix(block) + tensor.Name, tensor.Shape)))
            .Concat(LlamaCheckpoint.OuterTensors(source.Config))
            .SelectMany(tensor =>
            {
                var layer = tensor.Name.EndsWith(".weight", StringComparison.Ordinal) ? tensor.Name[..^".weight".Length] : string.Empty;
                return layers.Contains(layer) && recipe.RuleFor(layer) is { } rule
                    ? CompressedTensorsLayer.Layout(layer, (int)tensor.Shape[0], (int)tensor.Shape[1], rule.Weights!, rule.Activations?.Scheme, HasGroupIndex(rule), format)
                    : [SafetensorsTensor.FromFloats(tensor.Name, source.StoredAs(tensor.Name), tensor.Shape, default)];
            });
        var keys = recipe.KeyValueCache is { HasStaticKeys: true } ? Enumerable.Range(0, Blocks).Select(EmptyKeys) : [];
        return QuantizedModelFile.CountTensorBytes(tensors, keys, recipe.KeyValueCache?.Keys);
    }

    /// <summary>Bytes of the artifact's tensors that stand in no part.</summary>
    private long OuterBytes() => LlamaCheckpoint.OuterTensors(source.Config)
        .Where(tensor => headLayers == 0 || tensor.Name == LlamaCheckpoint.EmbeddingName)
        .Sum(tensor => tensor.Shape.Aggregate(1L, (product, size) => product * size) * source.StoredAs(tensor.Name).ByteSize());

    private KeyQuantization EmptyKeys(int block)
    {
        var count = checkpoint.Config.KeyValueHeads * checkpoint.Config.HeadSize;
        return new KeyQuantization(LlamaCheckpoint.BlockPrefix(block) + "self_attn", checkpoint.Config.KeyValueHeads, new float[count], new sbyte[count]);
    }

    private bool HasGroupIndex(RecipeRule rule) => recipe.Ptq.ActivationOrder == ActivationOrder.Group
        && rule is { Algorithms.Rounding: WeightRounding.Gptq or WeightRounding.Gptaq, Weights.Granularity: PerGroup };

    /// <summary>Puts the parts together.</summary>
    private void Join(string folder)
    {
        QuantizedModelFile.Join([.. Enumerable.Range(0, Units).Select(job.Part)], [.. source.OuterTensors(head: headLayers == 0)], checkpoint.Folder, folder);
        if (options.Checksummed)
        {
            FolderChecksums.Write(folder);
        }
    }

    private void Quantize()
    {
        // Without a quantized head nothing reads what the last block puts out.
        var next = job.FirstUnfinished(streams, Units);
        job.RequireIntact(next);
        job.Discard(streams, next);
        layersDone = Enumerable.Range(0, next).Sum(CountLayers);
        var current = OpenStreams(next);
        try
        {
            for (; next < Units; next++)
            {
                current = QuantizeUnit(next, current);
                MemoryRelease.Run();
            }
        }
        finally
        {
            Array.ForEach(current, stream => stream.Dispose());
        }
    }

    private ActivationStream[] QuantizeUnit(int number, ActivationStream[] inputs)
    {
        using var unit = source.Load(number, device);
        Named(() => Scale(unit, number, inputs));
        var quantizer = new UnitQuantizer(recipe, options.Training, options.Seed + number, device, LayerDone, progress, Warn, cancellation, options.Trials);
        using var original = inputs.Length > 1 ? source.Load(number, device) : null;
        original?.CopyFrom(unit);
        RoundFloats(unit);
        IReadOnlyList<QuantizedLayer> layers = [];
        Named(() => layers = quantizer.Quantize(unit, inputs.Length > 0 ? inputs[0] : null, original is null ? null : (original, inputs[1])));

        // Biases may have been corrected.
        RoundFloats(unit);
        learning = quantizer.LearningTime;
        var keys = Cache(unit, number, inputs);
        QuantizedModelFile.SavePart(frame with { Layers = layers, FloatTensors = FloatTensors(unit, layers), StaticKeys = keys }, format, job.Part(number));

        // Nothing reads what the last unit puts out.
        ActivationStream[] outputs = number == Units - 1 ? []
            : [.. inputs.Select((stream, i) => Propagate(i == 0 ? unit : original!, stream, streams[i], number))];
        Array.ForEach(inputs, stream => stream.Delete());
        return outputs;
    }

    /// <summary>Puts the model's name before what is wrong in it.</summary>
    private void Named(Action work)
    {
        try
        {
            work();
        }
        catch (NibbleException exception)
        {
            throw new NibbleException($"{checkpoint.Name}, {exception.Message}", exception);
        }
    }

    /// <summary>Makes a block quantize its keys and values from now on, and finds the parameters that are fixed.</summary>
    private KeyQuantization[] Cache(QuantizationUnit unit, int number, ActivationStream[] inputs)
    {
        if (recipe.KeyValueCache is not { } rule || unit.Block is not { } block)
        {
            return [];
        }

        var keys = rule.HasStaticKeys ? KeyValueCalibration.Run(block, LlamaCheckpoint.BlockPrefix(number).TrimEnd('.'), inputs[0], rule, source.Config.MaxSequence, cancellation) : null;
        KeyValueQuantizers.Set(block, rule, keys);
        return keys is null ? [] : [keys];
    }

    /// <summary>Folds channel scales into a block, where all layers that read the same input ask for it.</summary>
    private void Scale(QuantizationUnit unit, int number, ActivationStream[] inputs)
    {
        if (unit.Block is not { } block)
        {
            return;
        }

        var prefix = LlamaCheckpoint.BlockPrefix(number);
        foreach (var stage in Enum.GetValues<BlockStage>())
        {
            var rules = block.Linears(stage).ToDictionary(linear => linear.Key, linear => recipe.RuleFor(prefix + linear.Key));
            var scalings = rules.Values.Select(rule => rule?.Algorithms.Scaling ?? ChannelScaling.None).Distinct().ToList();
            if (scalings is [not ChannelScaling.None])
            {
                // Norms of one checkpoint can have different types.
                var storedAs = LlamaBlock.NormName(stage) is { } norm ? source.StoredAs($"{prefix}{norm}.weight") : ElementType.F32;
                StageScaling.Apply(block, stage, inputs[0], rules!, recipe.Ptq, storedAs, device, cancellation, prefix);
            }
            else if (scalings.Count > 1)
            {
                Warn($"{prefix}{block.Linears(stage)[0].Key} and the layers that read the same input are not scaled: their rules differ");
            }
        }
    }

    private void Warn(string message)
    {
        warnings.Add(message);
        options.Warn?.Invoke(message);
    }

    private ActivationStream Propagate(QuantizationUnit unit, ActivationStream inputs, string name, int number)
    {
        var outputs = ActivationStream.Create(job.Stream(name, number + 1), windows, length, inputs.Width, options.ActivationMemory);
        var what = $"{checkpoint.Name}: what {LlamaCheckpoint.BlockPrefix(number).TrimEnd('.')} puts out"
            + $"{(name == PtqJob.FloatStream ? " in the float model" : string.Empty)}";
        try
        {
            inputs.ForEach(device, (_, x) => outputs.Append(unit.Forward(x), what), cancellation);
            outputs.Complete();
            return outputs;
        }
        catch
        {
            outputs.Dispose();
            throw;
        }
    }

    /// <summary>The streams that go into a part: left by the run before, or the embedded text for the first.</summary>
    private ActivationStream[] OpenStreams(int part)
    {
        if (part == Units)
        {
            return [];
        }

        var opened = new List<ActivationStream>();
        foreach (var name in streams)
        {
            opened.Add(ActivationStream.TryOpen(job.Stream(name, part), windows, length, checkpoint.Config.HiddenSize, options.ActivationMemory) ?? Embed(job.Stream(name, part)));
        }

        return [.. opened];
    }

    private ActivationStream Embed(string path)
    {
        var text = options.Text!;
        var stream = ActivationStream.Create(path, windows, length, checkpoint.Config.HiddenSize, options.ActivationMemory);
        var batch = ActivationStream.BatchSize(length);
        for (var first = 0; first < windows; first += batch)
        {
            cancellation.ThrowIfCancellationRequested();
            var count = Math.Min(batch, windows - first);
            using var scope = NewDisposeScope();
            stream.Append(source.Embed([.. Enumerable.Range(first, count).SelectMany(window => text.Window(window * length, length))], count),
                $"{checkpoint.Name}: the embedded text");
        }

        stream.Complete();
        return stream;
    }

    /// <summary>What stays float computes from now on with the values that the artifact will hold, so that what comes after is calibrated on what
    /// ships.</summary>
    private void RoundFloats(QuantizationUnit unit)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var quantized = unit.Linears.Where(linear => recipe.RuleFor(linear.Key) is not null).Select(linear => linear.Key + ".weight").ToHashSet();
        foreach (var (name, parameter) in unit.Parameters.Where(item => !quantized.Contains(item.Key)))
        {
            parameter.copy_(Conversion.RoundTo(parameter, source.StoredAs(name)));
        }
    }

    private List<FloatTensor> FloatTensors(QuantizationUnit unit, IReadOnlyList<QuantizedLayer> layers)
    {
        var quantized = layers.Select(layer => layer.Name + ".weight").ToHashSet();
        return [.. unit.Parameters.Where(item => !quantized.Contains(item.Key)).Select(item => Conversion.Stored(item.Key, item.Value, source.StoredAs(item.Key)))];
    }

    private void LayerDone() => progress?.Report(new RunProgress("quantize", ++layersDone, layerCount));

    private int CountLayers(int unit) => unit == Blocks ? headLayers : LayerNames(unit).Count(name => recipe.RuleFor(name) is not null);

    private bool IsQuantized(string layer) => recipe.RuleFor(layer) is not null || options.Trials?.RulesFor(layer).Any() == true;

    private IEnumerable<(string Name, long Rows, long Columns)> LinearShapes()
    {
        var shapes = LlamaCheckpoint.BlockTensors(source.Config).ToDictionary(tensor => tensor.Name, tensor => tensor.Shape, StringComparer.Ordinal);
        var head = (LlamaCheckpoint.HeadName, (long)source.Config.VocabularySize, (long)source.Config.HiddenSize);
        return
        [
            .. from block in Enumerable.Range(0, Blocks)
               from name in LlamaBlock.LayerNames
               let shape = shapes[name + ".weight"]
               select (LlamaCheckpoint.BlockPrefix(block) + name, shape[0], shape[1]),
            .. source.Config.TiedHead ? Array.Empty<(string, long, long)>() : [head],
        ];
    }

    private List<string> LayerNames() =>
        [.. Enumerable.Range(0, Blocks).SelectMany(LayerNames), .. source.Config.TiedHead ? Array.Empty<string>() : [LlamaCheckpoint.HeadName]];

    private static IEnumerable<string> LayerNames(int block) => LlamaBlock.LayerNames.Select(name => LlamaCheckpoint.BlockPrefix(block) + name);

    private string[] Streams(List<RecipeRule> rules) =>
        options.Training is not null || rules.Any(rule => rule.Algorithms.NeedsFloat) ? [PtqJob.InputStream, PtqJob.FloatStream]
        : recipe.KeyValueCache is { HasStaticKeys: true } || rules.Any(rule => rule.Algorithms.NeedsData || rule.Activations is { Scheme.Granularity: PerTensor }) ? [PtqJob.InputStream]
        : [];

    /// <summary>Windows that a run with some settings looks at.</summary>
    public int CountWindows(PtqSettings settings)
    {
        if (streams.Length == 0)
        {
            return 0;
        }

        var text = options.Text ?? throw ActivationCalibration.MissingText(recipe);
        text.RequireWindow(length);
        return Math.Min(settings.Windows, text.WindowCount(length));
    }

    /// <summary>Refuses windows whose activations could not be held at once.</summary>
    private void RequireWindowSize()
    {
        var hidden = checkpoint.Config.HiddenSize;
        if (streams.Length > 0 && (long)ActivationStream.BatchSize(length) * length * hidden > Array.MaxLength)
        {
            throw new NibbleException(
                $"{checkpoint.Name}: windows of {length} tokens have {(long)length * hidden} values between two blocks, "
                + $"and at most {Array.MaxLength} are worked on at once; calibrate on windows of at most {Array.MaxLength / hidden} tokens");
        }
    }

    /// <summary>All that the result's bytes depend on.</summary>
    private Dictionary<string, string> Identity(IReadOnlyDictionary<string, string> hashes) => new()
    {
        ["version of Nibble"] = Conversion.Version,
        ["method"] = "ptq",
        ["recipe"] = RecipeFile.ToJson(recipe),
        ["model"] = string.Join(' ', hashes.OrderBy(item => item.Key, StringComparer.Ordinal).Select(item => $"{item.Key}:{item.Value}")),
        ["data"] = streams.Length == 0 ? string.Empty : Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(options.Text!.Ids.AsSpan(0, windows * length)))),
        ["seed"] = options.Seed.ToString(CultureInfo.InvariantCulture),
        ["threads"] = get_num_threads().ToString(CultureInfo.InvariantCulture),
        ["device"] = options.Device,
        ["training"] = options.Training is null ? string.Empty : TrainingMode.BlockWise.ToString(),
    };
}
