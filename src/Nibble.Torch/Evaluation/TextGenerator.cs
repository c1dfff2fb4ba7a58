using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>How text is sampled.</summary>
/// <param name="MaxTokens">New tokens at most, at least 1.</param>
/// <param name="Temperature">Divides the logits; 0 always takes the likeliest token.</param>
/// <param name="TopP">Samples from the likeliest tokens that hold this share of the probability, above 0 to 1.</param>
/// <param name="Seed">Drives the sampling.</param>
public sealed record GenerationOptions(int MaxTokens = 120, double Temperature = 0.8, double TopP = 0.95, long Seed = 1);

/// <summary>Continues a text, one token at a time.</summary>
public static class TextGenerator
{
    /// <summary>Continues a prompt until the end-of-sequence token, the limit, or the end of the model's context.</summary>
    /// <param name="model">The model and its tokenizer.</param>
    /// <param name="prompt">The text to continue.</param>
    /// <param name="options">How to sample.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <returns>The new text, without the prompt.</returns>
    public static string Generate(LoadedModel model, string prompt, GenerationOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        return Generate(model.Model, model.Tokenizer, prompt, options, cancellation);
    }

    /// <summary>Continues a prompt with a model and a tokenizer that are kept apart.</summary>
    public static string Generate(LlamaModel model, Formats.HuggingFace.TextTokenizer tokenizer, string prompt, GenerationOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(options);
        int[] encoded = [.. tokenizer.BosId is { } bos ? [bos] : Array.Empty<int>(), .. tokenizer.Encode(prompt)];
        if (encoded.Length == 0)
        {
            throw new NibbleException("the prompt is empty and the tokenizer has no beginning-of-sequence token; give a prompt");
        }

        if (encoded.Length >= model.Config.MaxSequence)
        {
            throw new NibbleException($"the prompt has {encoded.Length} tokens, expected fewer than the model's context of {model.Config.MaxSequence}");
        }

        var random = SeededRandom.Create(options.Seed);
        var written = new List<int>();
        var limit = Math.Min(options.MaxTokens, model.Config.MaxSequence - encoded.Length);
        using var guard = no_grad();
        using var cache = new KeyValueCache(model.Config.Layers);
        long[] next = Array.ConvertAll(encoded, id => (long)id);
        while (written.Count < limit)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var logits = model.Logits(tensor(next, 1, next.Length), cache)[0][-1];
            var id = Pick(logits, options, random);
            if (id == tokenizer.EosId)
            {
                break;
            }

            written.Add(id);
            next = [id];
        }

        // Decoded together with the prompt, since a token's text can depend on the one before it.
        var whole = tokenizer.Decode([.. encoded, .. written]);
        return whole[Math.Min(whole.Length, tokenizer.Decode(encoded).Length)..];
    }

    /// <summary>Continues tokens by the likeliest, one after the other.</summary>
    /// <param name="model">The model.</param>
    /// <param name="prompt">The tokens to continue; with <paramref name="count"/>, at most the longest sequence that the model takes.</param>
    /// <param name="count">New tokens.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    public static int[] Continue(LlamaModel model, IReadOnlyList<int> prompt, int count, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(prompt);
        var written = new int[count];
        using var guard = no_grad();
        using var cache = new KeyValueCache(model.Config.Layers);
        long[] next = [.. prompt.Select(id => (long)id)];
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            written[i] = (int)model.Logits(tensor(next, 1, next.Length), cache)[0][-1].argmax().item<long>();
            next = [written[i]];
        }

        return written;
    }

    private static int Pick(Tensor logits, GenerationOptions options, Random random)
    {
        if (options.Temperature <= 0)
        {
            return (int)logits.argmax().item<long>();
        }

        var (probabilities, order) = (logits / options.Temperature).softmax(0).sort(descending: true);
        var shares = probabilities.data<float>().ToArray();
        var ids = order.data<long>().ToArray();
        var kept = 0;
        var mass = 0d;
        while (kept < shares.Length && mass < options.TopP)
        {
            mass += shares[kept++];
        }

        var draw = random.NextDouble() * mass;
        for (var i = 0; i < kept; i++)
        {
            draw -= shares[i];
            if (draw < 0)
            {
                return (int)ids[i];
            }
        }

        return (int)ids[Math.Max(0, kept - 1)];
    }
}
