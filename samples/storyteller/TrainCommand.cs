using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Files;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;

namespace Nibble.Samples.Storyteller;

/// <summary><c>train</c>: trains the built-in model from scratch.</summary>
internal static class TrainCommand
{
    /// <summary>Widths are multiples of 256, so that every block format of GGUF applies to each row.</summary>
    private const string Config = """
        {
          "architectures": ["LlamaForCausalLM"],
          "model_type": "llama",
          "hidden_size": 256,
          "intermediate_size": 768,
          "num_hidden_layers": 4,
          "num_attention_heads": 4,
          "num_key_value_heads": 2,
          "vocab_size": 2048,
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

    /// <summary>Steps between two looks at the loss of the last stories, which are held out.</summary>
    private const int HeldOutEvery = 200;

    public static Command Create()
    {
        var data = StoryOptions.Data();
        var tokenizer = new Option<DirectoryInfo>("--tokenizer") { Description = "the folder that holds tokenizer.json", Required = true };
        var steps = new Option<int>("--steps") { Description = "optimizer steps of 16 x 256 tokens", DefaultValueFactory = _ => 1500 };
        var seed = new Option<int>("--seed") { Description = "drives the first weights and the batches", DefaultValueFactory = _ => 3 };
        var output = new Option<DirectoryInfo>("-o", "--output") { Description = "the folder of the model, which must not exist", Required = true };
        var command = new Command("train", "Train the built-in model from scratch on stories. The same command resumes an interrupted training")
        {
            data, tokenizer, steps, seed, output,
        };
        command.SetAction(parsed => Failures.Catch(() => Train(
            Stories.Read(parsed.GetRequiredValue(data)),
            parsed.GetRequiredValue(tokenizer).FullName,
            parsed.GetValue(steps),
            parsed.GetValue(seed),
            parsed.GetRequiredValue(output).FullName)));
        return command;
    }

    private static void Train(List<string> stories, string tokenizerFolder, int steps, int seed, string output)
    {
        TorchRuntime.UseThreads(null);
        using var created = LoadedModel.Create(Config, tokenizerFolder, seed);
        var parameters = created.Model.Parameters().Sum(item => item.Value.numel());
        var model = created with
        {
            StoredAs = created.StoredAs.ToDictionary(item => item.Key, _ => ElementType.F16),
            Bytes = parameters * 2,
        };
        var ids = model.Tokenizer.Encode(Stories.End + string.Join(Stories.End, stories) + Stories.End);
        var text = new TokenizedText("stories", model.Tokenizer.StartId is { } start ? [start, .. ids] : ids, model.Tokenizer.StartId);
        Console.Error.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{parameters:N0} parameters, {stories.Count:N0} stories of {text.Ids.Length:N0} tokens together"));
        var settings = new QatSettings
        {
            Steps = steps,
            BatchSize = 16,
            SequenceLength = 256,
            LearningRate = 2e-3,
            WeightDecay = 0.1,
            WarmUp = 0.03,
            EvaluateEvery = HeldOutEvery,

            // The training never stops early, but the model with the lowest held-out loss is kept.
            Patience = steps,
        };
        FinetuneRun.Run(new FinetuneOptions(model, settings, text, output) { Seed = seed }, new StepLines());
    }

    /// <summary>A line every 20 steps.</summary>
    private sealed class StepLines : IProgress<RunProgress>
    {
        private readonly long start = Stopwatch.GetTimestamp();
        private long? first;

        public void Report(RunProgress value)
        {
            // A resumed training does not begin at the first step.
            first ??= value.Done - 1;
            if (value.Done % 20 == 0)
            {
                var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                var heldOut = value.HeldOutLoss is { } loss ? string.Create(CultureInfo.InvariantCulture, $"  held out {loss:F3}") : string.Empty;
                var left = seconds / (value.Done - first.Value) * (value.Total - value.Done);
                Console.Error.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"step {value.Done}/{value.Total}  loss {value.Loss:F3}{heldOut}  {seconds:F0} s, {left:F0} s left"));
            }
        }
    }
}
