using Nibble.Torch.Training;
using System.Diagnostics;
using System.Globalization;
using Nibble.Models;
using Nibble.Models.Bert;
using Nibble.Models.Decoders;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Native;
using Nibble.Torch.Tasks;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Benchmarks;

/// <summary>Training steps of one model along three roads: in float, fake-quantized by the fused kernels, and by composed tensor operators.</summary>
internal static class TrainingSteps
{
    private const string Float = "float";
    private const string Fused = "fused";
    private const string Composed = "composed";
    private const int WarmUp = 3;

    // Windows of a text for decoders; for the encoder, texts as long as SST-2's are on average.
    private static readonly (int Count, int Length) Windows = (8, 256), Texts = (32, 25);

    private static readonly string[] Methods = [Float, Fused, Composed];

    private static readonly string[] Recipes = ["w4a16-g32", "w4a4-g32"];

    private static readonly Dictionary<string, string> Shapes = new()
    {
        ["stories260K"] = Config(hidden: 64, intermediate: 172, layers: 5, heads: 8, keyValueHeads: 4, vocabulary: 512),
        ["256-wide"] = Config(hidden: 256, intermediate: 688, layers: 4, heads: 8, keyValueHeads: 8, vocabulary: 4096),
        ["MiniLM-L6 classifier"] = """
            {"model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12,
             "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "id2label": {"0": "a", "1": "b"}, "nibble_task": {"name": "classification"}}
            """,
    };

    /// <summary>Prints a table of times; in each round every road takes one step, so that whatever else the machine does meets all of them.</summary>
    public static void Compare(int threads, int rounds)
    {
        set_num_threads(threads);
        Console.WriteLine($"A training step of {Windows.Count} x {Windows.Length} tokens, the classifier's of {Texts.Count} x {Texts.Length}, {threads} "
            + $"thread(s), median of {rounds} rounds; ratios are medians of each round's.");
        Console.WriteLine();
        Console.WriteLine("| shape | recipe | float ms | fused ms | fused / float | composed ms | composed / float |");
        Console.WriteLine("|---|---|---|---|---|---|---|");
        foreach (var shape in Shapes.Keys)
        {
            foreach (var recipe in Recipes)
            {
                var methods = Methods.Select(method => new Method(shape, recipe, method)).ToArray();
                var times = Methods.Select(_ => new List<double>()).ToArray();
                for (var round = 0; round < WarmUp + rounds; round++)
                {
                    for (var i = 0; i < methods.Length; i++)
                    {
                        var watch = Stopwatch.StartNew();
                        methods[i].Step();
                        if (round >= WarmUp)
                        {
                            times[i].Add(watch.Elapsed.TotalMilliseconds);
                        }
                    }
                }

                double Ratio(int method) => Median(times[method].Zip(times[0], (time, one) => time / one));
                Console.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"| {shape} | {recipe} | {Median(times[0]):F1} | {Median(times[1]):F1} | {Ratio(1):F2} | {Median(times[2]):F1} | {Ratio(2):F2} |"));
                Array.ForEach(methods, method => method.Dispose());
            }
        }
    }

    /// <summary>Prints the peak resident memory of a process that takes steps along one road.</summary>
    public static void Peak(int threads, string shape, string recipe, string method)
    {
        set_num_threads(threads);
        using var steps = new Method(shape, recipe, method);
        for (var step = 0; step < 2 * WarmUp; step++)
        {
            steps.Step();
        }

        using var process = Process.GetCurrentProcess();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{process.PeakWorkingSet64 / 1048576d:F1}"));
    }

    /// <summary>Prints where the time of a step goes.</summary>
    public static void Profile(int threads, string shape, string recipe, string method)
    {
        set_num_threads(threads);
        using var steps = new Method(shape, recipe, method);
        var phases = new List<double[]>();
        for (var step = 0; step < WarmUp + 15; step++)
        {
            var phase = steps.Step();
            if (step >= WarmUp)
            {
                phases.Add(phase);
            }
        }

        var names = new[] { "forward", "backward", "clip", "optimizer", "end of scope" };
        var parts = names.Select((name, i) => string.Create(CultureInfo.InvariantCulture, $"{name} {Median(phases.Select(phase => phase[i])):F1} ms"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"step {Median(phases.Select(phase => phase.Sum())):F1} ms: {string.Join(", ", parts)}"));
    }

    private static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private static string Config(int hidden, int intermediate, int layers, int heads, int keyValueHeads, int vocabulary) => string.Create(
        CultureInfo.InvariantCulture,
        $$"""
        {"model_type": "llama", "vocab_size": {{vocabulary}}, "hidden_size": {{hidden}}, "intermediate_size": {{intermediate}}, "num_hidden_layers": {{layers}},
         "num_attention_heads": {{heads}}, "num_key_value_heads": {{keyValueHeads}}, "max_position_embeddings": 512, "rms_norm_eps": 1e-05,
         "hidden_act": "silu", "tie_word_embeddings": true}
        """);

    /// <summary>A model of random weights with its optimizer, and the same batch at every step.</summary>
    private sealed class Method : IDisposable
    {
        private readonly IQuantizableModel model;
        private readonly ITask task;
        private readonly ModelBatch input;
        private readonly Tensor targets;
        private readonly AdamW optimizer;
        private readonly Parameter[] trained;

        public Method(string shape, string recipeName, string method)
        {
            // No scope here: it would end with the model's parameters.
            using var generator = new Generator(1);
            var definition = ModelFamilies.Parse(Shapes[shape], shape);
            model = definition is BertConfig encoder ? new BertModel(encoder) : new DecoderModel((DecoderConfig)definition);
            model.Initialize(generator);
            model.Module.train();
            task = ModelTasks.Of(definition);
            if (task.Kind == ModelTask.LanguageModelling)
            {
                var tokens = randint(definition.VocabularySize, [Windows.Count, Windows.Length + 1], dtype: int64, generator: generator);
                (input, targets) = (new ModelBatch(tokens.narrow(1, 0, Windows.Length)), tokens.narrow(1, 1, Windows.Length));
            }
            else
            {
                input = new ModelBatch(randint(definition.VocabularySize, [Texts.Count, Texts.Length], dtype: int64, generator: generator));
                targets = randint(2, [Texts.Count], dtype: int64, generator: generator);
            }

            var recipe = RecipePresets.Parse(recipeName);
            var scales = new List<Parameter>();
            foreach (var (name, layer) in model.Linears())
            {
                if (method == Float || recipe.RuleFor(name) is not { } rule)
                {
                    continue;
                }

                var learned = WeightFakeQuantizer.Create(GradientEstimator.LearnedScale, rule.Weights!, layer.Weight);
                if (method == Fused)
                {
                    layer.WeightQuantizer = learned;
                    layer.InputQuantizer = rule.Activations is { } input ? new DynamicInputQuantizer(input.Scheme) : null;
                    scales.AddRange(learned.Parameters);
                }
                else
                {
                    var composed = new ComposedWeightQuantizer(learned.Convert(layer.Weight));
                    layer.WeightQuantizer = composed;
                    layer.InputQuantizer = rule.Activations is { } input ? new ComposedInputQuantizer(input.Scheme) : null;
                    scales.Add(composed.Logarithm);
                }
            }

            trained = [.. model.Module.parameters(), .. scales];
            optimizer = optim.AdamW(trained, 1e-3);
        }

        /// <summary>Takes one step as the trainer does, and returns the milliseconds of its parts.</summary>
        public double[] Step()
        {
            var watch = Stopwatch.StartNew();
            var times = new List<double>();
            void Lap()
            {
                times.Add(watch.Elapsed.TotalMilliseconds);
                watch.Restart();
            }

            using (CollectorPause.Begin())
            using (NewDisposeScope())
            {
                var loss = task.Loss(model.Compute(input), targets);
                _ = loss.item<float>();
                Lap();
                optimizer.zero_grad();
                loss.backward();
                Lap();
                nn.utils.clip_grad_norm_(trained, 1);
                Lap();
                optimizer.step();
                Lap();
            }

            Lap();
            return [.. times];
        }

        public void Dispose()
        {
            optimizer.Dispose();
            input.Dispose();
            targets.Dispose();
            model.Dispose();
        }
    }
}
