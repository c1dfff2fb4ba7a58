using Nibble.Files;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Models.Llama;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;
using TorchSharp;

namespace Nibble.Samples.Storyteller;

/// <summary><c>train</c>: trains the built-in model on freshly written stories.</summary>
internal static class TrainCommand
{
    /// <summary>Widths are multiples of 256, so that every block format of GGUF applies to each row.</summary>
    private const string Config = """
        {
          "architectures": ["LlamaForCausalLM"],
          "model_type": "llama",
          "hidden_size": 256,
          "intermediate_size": 256,
          "num_hidden_layers": 3,
          "num_attention_heads": 4,
          "num_key_value_heads": 2,
          "vocab_size": 1024,
          "max_position_embeddings": 256,
          "rms_norm_eps": 1e-05,
          "rope_theta": 10000.0,
          "hidden_act": "silu",
          "tie_word_embeddings": true,
          "attention_bias": false,
          "mlp_bias": false,
          "bos_token_id": 0,
          "eos_token_id": 1,
          "torch_dtype": "float16"
        }

        """;

    public static Command Create()
    {
        var stories = new Option<int>("--stories") { Description = "how many stories to train on", DefaultValueFactory = _ => 40_000 };
        var steps = new Option<int>("--steps") { Description = "optimizer steps of 8 x 256 tokens", DefaultValueFactory = _ => 2000 };
        var seed = new Option<int>("--seed") { Description = "drives the stories, the first weights and the batches", DefaultValueFactory = _ => 3 };
        var folder = new Option<DirectoryInfo>(
            "-o", "--output")
        {
            Description = "the folder that holds tokenizer.json and takes the model",
            DefaultValueFactory = _ => new DirectoryInfo("samples/storyteller/model")
        };
        var command = new Command("train", "Train the built-in model from scratch on stories that are written on the spot") { stories, steps, seed, folder };
        command.SetAction(parsed => Train(parsed.GetValue(stories), parsed.GetValue(steps), parsed.GetValue(seed), parsed.GetRequiredValue(folder).FullName));
        return command;
    }

    private static void Train(int stories, int steps, int seed, string folder)
    {
        TorchRuntime.EnsureLoaded();

        // One thread gives the same weights on every machine of a kind, whatever its cores.
        torch.set_num_threads(1);
        var text = Path.GetTempFileName();
        try
        {
            TextFile.Write(text, new StoryWriter(seed).WriteMany(stories));
            TextFile.Write(Path.Combine(folder, Checkpoint.ConfigName), Config);
            var tokenizer = TextTokenizer.Load(folder);
            var model = new LlamaModel(LlamaConfig.Parse(Config, Checkpoint.ConfigName));
            model.Initialize(new torch.Generator((ulong)seed));
            var storedAs = model.named_parameters().ToDictionary(item => item.name, _ => ElementType.F16);
            using var loaded = new LoadedModel(folder, Config, model, tokenizer, storedAs, 0, new Dictionary<string, string>());
            var stream = TokenizedText.Read(text, tokenizer);
            Console.Error.WriteLine($"{model.ParameterCount:N0} parameters, {stream.Ids.Length:N0} tokens of {stories:N0} stories");

            var settings = new QatSettings { Steps = steps, BatchSize = 8, SequenceLength = 256, LearningRate = 2e-3, WeightDecay = 0.1, WarmUp = 0.03 };
            var trainer = new QuantizationAwareTrainer(loaded, recipe: null, settings, stream, CalibrationOptions.For(model.Config), seed);
            trainer.Train(new StepLines());
            SafetensorsWriter.Write(
                Path.Combine(folder, Checkpoint.WeightsName),
                [.. model.named_parameters().Select(
                    item => SafetensorsTensor.FromFloats(item.name, ElementType.F16, item.parameter.shape, item.parameter.detach().data<float>().ToArray()))],
                new Dictionary<string, string> { ["format"] = "pt" });
        }
        finally
        {
            File.Delete(text);
        }
    }

    /// <summary>A line every 20 steps.</summary>
    private sealed class StepLines : IProgress<RunProgress>
    {
        private readonly long start = Stopwatch.GetTimestamp();

        public void Report(RunProgress value)
        {
            if (value.Done % 20 == 0)
            {
                var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                Console.Error.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"step {value.Done}/{value.Total}  loss {value.Loss:F3}  {seconds:F0} s, {seconds / value.Done * (value.Total - value.Done):F0} s left"));
            }
        }
    }
}
