using Nibble.Files;
using System.Diagnostics;
using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq.Scaling;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>One run from a checkpoint to an artifact. It processes one decoder block at a time and writes it before it reads the next.</summary>
internal sealed class PtqRun : IDisposable
{
    private readonly PtqRequest options;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private readonly FloatCheckpoint checkpoint;
    private readonly PtqSource source;
    private readonly Recipe recipe;
    private readonly Device device;
    private readonly PtqJob job;
    private readonly QuantizedModel frame;
    private readonly CompressedTensorsFormat format;
    private readonly int layerCount;
    private readonly int headLayers;
    private readonly string[] streams;
    private readonly CalibrationPieces? pieces;
    private readonly int[] lengths;
    private readonly int length;
    private readonly List<string> warnings = [];
    private int layersDone;
    private TimeSpan learning;

    public PtqRun(PtqRequest options, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        this.options = options;
        this.progress = progress;
        this.cancellation = cancellation;
        options.Recipe.Ptq.Validate();
        options.Recipe.RequirePtq();
        device = TorchRuntime.Device(options.Device);
        if (Path.Exists(options.Output) && (options.Restart || !OutputJob.IsJoined(options.Output)))
        {
            throw new NibbleException($"{options.Output}: the output folder exists already. Choose another folder, or delete it first");
        }

        checkpoint = FloatCheckpoint.Open(options.Model, options.Task);
        recipe = checkpoint.Definition.Complete(options.Recipe);
        try
        {
            source = new PtqSource(checkpoint, recipe, options.Seed);
            List<string> names = [.. source.Definition.QuantizableLayers.Select(layer => layer.Name)];
            var rules = names.Select(recipe.RuleFor).OfType<RecipeRule>().ToList();
            layerCount = rules.Count;
            if (recipe.KeyValueCache is null && options.Trials is null)
            {
                PostTrainingQuantizer.RequireLayers(layerCount, names, checkpoint.Name, recipe);
            }

            foreach (var layer in source.Definition.QuantizableLayers.Where(layer => IsQuantized(layer.Name)))
            {
                QuantizedTensor.RequireSize($"{checkpoint.Name}: the weight of {layer.Name}", layer.Rows, layer.Columns);
            }

            headLayers = source.Definition.HeadLayers.Count(layer => IsQuantized(layer.Name));
            format = CompressedTensorsLayer.FormatFor(rules.Select(rule => (rule.Weights!, rule.Activations?.Scheme)));
            streams = Streams([.. rules, .. names.SelectMany(name => options.Trials?.RulesFor(name) ?? [])]);
            length = Math.Min(recipe.Ptq.SequenceLength, source.Definition.MaxSequence);
            pieces = ReadPieces(recipe.Ptq);
            lengths = [.. (pieces?.Sequences ?? []).Select(sequence => sequence.Ids.Length)];
            RequireWindowSize();

            // Blocks are read one after the other, possibly hours later.
            checkpoint.RequireFinite();
            var hashes = checkpoint.Hashes();
            var provenance = new Provenance(
                Provenance.ThisVersion, "ptq", options.Seed, hashes, new Dictionary<string, double>())
            { Calibration = pieces?.Description };
            frame = new QuantizedModel(source.ConfigJson, [], [], recipe, provenance, string.Empty);
            job = new PtqJob(options.Output, Identity(hashes), options.Restart);
        }
        catch
        {
            source?.Dispose();
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Summarizes what the run does with each layer. Other settings can be passed.</summary>
    public RunSummary Summarize(PtqSettings? settings = null)
    {
        var asked = recipe with { Ptq = settings ?? recipe.Ptq };
        return ModelSummary.Of(source.Definition, asked, Method.Ptq, streams.Length == 0 ? null : settings is null ? pieces : ReadPieces(settings),
            options.Target,
            hasIdleData: streams.Length == 0 && options is { Data: not null, IsPart: false });
    }

    /// <summary>The number of blocks.</summary>
    public int Blocks => source.Definition.Layers;

    /// <summary>The size of the checkpoint's tensors in bytes.</summary>
    public long SourceBytes => checkpoint.Bytes;

    /// <summary>The number of layers to quantize.</summary>
    public int LayerCount => layerCount;

    /// <summary>Whether the head is also quantized.</summary>
    public bool HasHead => headLayers > 0;

    /// <summary>The number of activation streams between blocks.</summary>
    public int StreamCount => streams.Length;

    /// <summary>The number of units: the blocks, and the head if it is quantized.</summary>
    private int Units => Blocks + (HasHead ? 1 : 0);

    public QuantizationResult Run()
    {
        if (!job.Joined)
        {
            job.RequireSpace(CountBytes(), OuterBytes(), Units, streams.Length * StreamBytes(CountTokens(recipe.Ptq)));
            try
            {
                Quantize();
                cancellation.ThrowIfCancellationRequested();
                job.Join(Join);
            }
            catch (NibbleException exception) when (exception is not DamagedFileException)
            {
                // The model, the data or the recipe are at fault. The same call would fail again, and a different call is a different job.
                job.Abandon();
                throw;
            }
        }

        job.Finish(options.Output);
        var bytes = QuantizedModelFile.TensorBytes(options.Output);
        return new QuantizationResult(checkpoint.Name, layerCount, checkpoint.Bytes, bytes, pieces?.Description)
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

    /// <summary>Quantizes one unit on the embedded text, as if it were the first one, and discards the result.</summary>
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
        return new UnitTimes(CountTokens(recipe.Ptq), embedded, streaming, learning.TotalSeconds, recipe.Ptq.LearningSteps,
            seconds - streaming - learning.TotalSeconds);
    }

    /// <summary>The size of one stream in bytes.</summary>
    public long StreamBytes(long tokens) => tokens * source.Definition.HiddenSize * sizeof(float);

    /// <summary>The size of the artifact's tensor file in bytes.</summary>
    public long CountBytes()
    {
        var definition = source.Definition;
        var layers = definition.QuantizableLayers.Select(layer => layer.Name).ToHashSet(StringComparer.Ordinal);
        var blocks = Enumerable.Range(0, Blocks).SelectMany(definition.TensorsOf);
        var tensors = blocks.Concat(definition.InputTensors).Concat(definition.HeadTensors).SelectMany(tensor =>
        {
            var layer = tensor.Name.EndsWith(".weight", StringComparison.Ordinal) ? tensor.Name[..^".weight".Length] : string.Empty;
            return layers.Contains(layer) && recipe.RuleFor(layer) is { } rule
                ? CompressedTensorsLayer.Layout(
                    layer, (int)tensor.Shape[0], (int)tensor.Shape[1], rule.Weights!, definition.IsTable(layer) ? null : rule.Activations?.Scheme,
                    HasGroupIndex(rule), format)
                : [SafetensorsTensor.FromFloats(tensor.Name, source.StoredAs(tensor.Name), [.. tensor.Shape], default)];
        });
        var keys = recipe.KeyValueCache is { HasStaticKeys: true } ? EmptyKeys() : [];
        return QuantizedModelFile.CountTensorBytes(tensors, keys, recipe.KeyValueCache?.Keys);
    }

    /// <summary>The size of the artifact's tensors that are in no part, in bytes.</summary>
    private long OuterBytes() => source.OuterDefinitions(head: !HasHead).Sum(tensor => tensor.Count * source.StoredAs(tensor.Name).ByteSize());

    private IEnumerable<KeyQuantization> EmptyKeys()
    {
        using var unit = source.Load(0, device);
        var block = (IKeyValueBlock)unit.Block;
        var (heads, size) = block.KeyValueHeads;
        return [.. Enumerable.Range(0, Blocks).Select(number =>
            new KeyQuantization(source.Definition.BlockPrefix(number) + block.Attention, heads, new float[heads * size], new sbyte[heads * size]))];
    }

    private bool HasGroupIndex(RecipeRule rule) => recipe.Ptq.ActivationOrder == ActivationOrder.Group
        && rule is { Algorithms.Rounding: WeightRounding.Gptq or WeightRounding.Gptaq, Weights.Granularity: PerGroup };

    /// <summary>Joins the parts to an artifact.</summary>
    private void Join(string folder)
    {
        List<string> parts = [.. Enumerable.Range(0, Units).Select(job.Part)];
        if (source.HasTables)
        {
            parts.Insert(0, job.Part(Units));
            if (!Directory.Exists(parts[0]))
            {
                QuantizedModelFile.SavePart(frame with { Layers = source.Tables, FloatTensors = source.InputFloats() }, format, parts[0]);
            }
        }

        QuantizedModelFile.Join(parts, [.. source.OuterTensors(head: !HasHead)], checkpoint.Folder, folder);
        if (options.Checksummed)
        {
            FolderChecksums.Write(folder);
        }
    }

    private void Quantize()
    {
        // If the head is not quantized, nothing reads the output of the last block.
        var next = Math.Min(job.FirstUnfinished(streams, Units), Units);
        job.RequireIntact(next);
        job.Discard(streams, next);
        layersDone = source.Tables.Count + Enumerable.Range(0, next).Sum(CountLayers);
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
        Named(() => Scale(unit, inputs));
        var quantizer = new UnitQuantizer(recipe, options.Training, options.Seed + number, device, LayerDone, progress, Warn, cancellation, options.Trials);
        using var original = inputs.Length > 1 ? source.Load(number, device) : null;
        original?.CopyFrom(unit);
        RoundFloats(unit);
        IReadOnlyList<QuantizedLayer> layers = [];
        Named(() => layers = quantizer.Quantize(unit, inputs.Length > 0 ? inputs[0] : null, original is null ? null : (original, inputs[1])));

        // Biases may have been corrected.
        RoundFloats(unit);
        learning = quantizer.LearningTime;
        var keys = Cache(unit, inputs);
        QuantizedModelFile.SavePart(frame with { Layers = layers, FloatTensors = FloatTensors(unit, layers), StaticKeys = keys }, format, job.Part(number));

        // Nothing reads the output of the last unit.
        ActivationStream[] outputs = number == Units - 1 ? []
            : [.. inputs.Select((stream, i) => Propagate(i == 0 ? unit : original!, stream, streams[i], number))];
        Array.ForEach(inputs, stream => stream.Delete());
        return outputs;
    }

    /// <summary>Prefixes the messages of errors with the model's name.</summary>
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

    /// <summary>Enables the quantization of a block's keys and values, and determines the fixed parameters.</summary>
    private KeyQuantization[] Cache(QuantizationUnit unit, ActivationStream[] inputs)
    {
        if (recipe.KeyValueCache is not { } rule || unit.Block is not IKeyValueBlock block)
        {
            return [];
        }

        var keys = rule.HasStaticKeys
            ? KeyValueCalibration.Run(block, unit.Prefix.TrimEnd('.'), inputs[0], rule, source.Definition.MaxSequence, cancellation)
            : null;
        KeyValueQuantizers.Set(block, rule, keys);
        return keys is null ? [] : [keys];
    }

    /// <summary>Folds channel scales into a block if all layers that read the same input use scaling.</summary>
    private void Scale(QuantizationUnit unit, ActivationStream[] inputs)
    {
        foreach (var stage in unit.IsHead ? [] : unit.Stages)
        {
            var rules = stage.Linears.ToDictionary(linear => linear.Key, linear => recipe.RuleFor(linear.Key));
            var scalings = rules.Values.Select(rule => rule?.Algorithms.Scaling ?? ChannelScaling.None).Distinct().ToList();
            if (scalings is [not ChannelScaling.None] && stage.Producer is { } producer)
            {
                // Norms of one checkpoint can have different types.
                var storedAs = producer.Stored is { } norm ? source.StoredAs(unit.Prefix + norm) : ElementType.F32;
                StageScaling.Apply(stage, inputs[0], rules!, recipe.Ptq, storedAs, device, cancellation);
            }
            else if (scalings is [not ChannelScaling.None])
            {
                Warn($"{stage.Linears[0].Key} and the layers that read the same input are not scaled: their input is also used elsewhere");
            }
            else if (scalings.Count > 1)
            {
                Warn($"{stage.Linears[0].Key} and the layers that read the same input are not scaled: their rules differ");
            }
        }
    }

    private void Warn(string message)
    {
        warnings.Add(message);
        options.Tell(message);
    }

    private ActivationStream Propagate(QuantizationUnit unit, ActivationStream inputs, string name, int number)
    {
        var outputs = ActivationStream.Create(job.Stream(name, number + 1), lengths, inputs.Width, options.ActivationMemory);
        var what = $"{checkpoint.Name}: the output of {unit.Prefix.TrimEnd('.')}"
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

    /// <summary>The streams that a part reads: from an earlier run, or the embedded text for the first part.</summary>
    private ActivationStream[] OpenStreams(int part)
    {
        if (part == Units)
        {
            return [];
        }

        var opened = new List<ActivationStream>();
        foreach (var name in streams)
        {
            opened.Add(ActivationStream.TryOpen(job.Stream(name, part), lengths, source.Definition.HiddenSize, options.ActivationMemory)
                ?? Embed(job.Stream(name, part)));
        }

        return [.. opened];
    }

    private ActivationStream Embed(string path)
    {
        var sequences = pieces!.Sequences;
        var stream = ActivationStream.Create(path, lengths, source.Definition.HiddenSize, options.ActivationMemory);
        for (int first = 0, count; first < sequences.Count; first += count)
        {
            cancellation.ThrowIfCancellationRequested();
            count = ActivationStream.BatchSize(lengths, first);
            using var scope = NewDisposeScope();

            // Short texts are padded with an arbitrary token, because no other token attends to it.
            stream.Append(source.Embed(ModelBatch.Of([.. sequences.Skip(first).Take(count)], paddingId: 0)), $"{checkpoint.Name}: the embedded text");
        }

        stream.Complete();
        return stream;
    }

    /// <summary>
    /// Rounds parameters that stay float to the values that the artifact will hold, so that everything after them is calibrated with the final values.
    /// </summary>
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
        return [.. unit.Parameters.Where(item => !quantized.Contains(item.Key))
            .Select(item => Conversion.Stored(item.Key, item.Value, source.StoredAs(item.Key)))];
    }

    private void LayerDone() => progress?.Report(new RunProgress("quantize", ++layersDone, layerCount));

    private int CountLayers(int unit) => unit == Blocks ? headLayers : source.Definition.LayersOf(unit).Count(layer => recipe.RuleFor(layer.Name) is not null);

    private bool IsQuantized(string layer) => recipe.RuleFor(layer) is not null || options.Trials?.RulesFor(layer).Any() == true;

    private string[] Streams(List<RecipeRule> rules) =>
        options.Training is not null || rules.Any(rule => rule.Algorithms.NeedsFloat) ? [PtqJob.InputStream, PtqJob.FloatStream]
        : recipe.KeyValueCache is { HasStaticKeys: true }
            || rules.Any(rule => rule.Algorithms.NeedsData || rule.Activations is { Scheme.Granularity: PerTensor }) ? [PtqJob.InputStream]
        : [];

    /// <summary>The number of tokens that a run with the given settings uses.</summary>
    public long CountTokens(PtqSettings settings) => ReadPieces(settings)?.Tokens ?? 0;

    /// <summary>The calibration data that a run with the given settings uses. Null if it uses none.</summary>
    private CalibrationPieces? ReadPieces(PtqSettings settings) => streams.Length == 0 ? null
        : (options.Data ?? throw ActivationCalibration.MissingText(recipe)).Pieces(settings.Windows, length, options.Seed);

    /// <summary>Rejects windows whose activations are too large for an array.</summary>
    private void RequireWindowSize()
    {
        var hidden = source.Definition.HiddenSize;
        if (lengths.Length > 0 && (long)ActivationStream.BatchSize(lengths.Max()) * lengths.Max() * hidden > Array.MaxLength)
        {
            throw new NibbleException(
                $"{checkpoint.Name}: windows of {length} tokens have {(long)length * hidden} values between two blocks, "
                + $"but at most {Array.MaxLength} are supported. Calibrate with windows of at most {Array.MaxLength / hidden} tokens");
        }
    }

    /// <summary>Everything the bytes of the result depend on.</summary>
    private Dictionary<string, string> Identity(IReadOnlyDictionary<string, string> hashes)
    {
        var data = TokenSequence.HashOf(pieces?.Sequences ?? []);
        return new(JobIdentity.ValuesOf("ptq", source.ConfigJson, ("recipe", RecipeFile.ToJson(recipe)), hashes, data, options.Seed))
        {
            ["device"] = options.Device,
            ["training"] = options.Training is null ? string.Empty : TrainingMode.BlockWise.ToString(),
        };
    }
}
