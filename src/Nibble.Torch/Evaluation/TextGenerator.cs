using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;

namespace Nibble.Torch.Evaluation;

/// <summary>Continues a text, one token at a time.</summary>
public static class TextGenerator
{
    /// <summary>
    /// Continues a prompt until a stop token (<see cref="TextTokenizer.StopIds"/>), the maximum number of tokens, or the end of the model's context.
    /// </summary>
    /// <param name="model">The model and its tokenizer.</param>
    /// <param name="prompt">The text to continue.</param>
    /// <param name="options">The sampling options.</param>
    /// <param name="cancellation">Cancels between tokens.</param>
    /// <returns>The new text, without the prompt.</returns>
    public static string Generate(LoadedModel model, string prompt, GenerationOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        return Generate(model.Decoder, model.Tokenizer, prompt, options, cancellation);
    }

    /// <summary>Continues a prompt with a separate model and tokenizer.</summary>
    public static string Generate(IDecoder model, TextTokenizer tokenizer, string prompt, GenerationOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(options);
        var encoded = Encode(tokenizer, prompt);
        using var predictor = new SimulatedPredictor(model);
        var written = Tokens(predictor, encoded, tokenizer.StopIds.Contains, options, cancellation);

        // Decoded together with the prompt, because a token's text can depend on the previous token.
        var whole = tokenizer.Decode([.. encoded, .. written]);
        return whole[Math.Min(whole.Length, tokenizer.Decode(encoded).Length)..];
    }

    /// <summary>The tokens of a prompt, after the tokenizer's start token if it has one.</summary>
    internal static int[] Encode(TextTokenizer tokenizer, string prompt)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return [.. tokenizer.StartId is { } start ? [start] : Array.Empty<int>(), .. tokenizer.Encode(prompt)];
    }

    /// <summary>Continues a prompt with any engine until a stop token, the maximum number of tokens, or the end of the model's context.</summary>
    /// <param name="predictor">The predictor. It must not have received any tokens yet.</param>
    /// <param name="prompt">The tokens to continue.</param>
    /// <param name="ends">Whether a token ends the text. Such a token is not returned.</param>
    /// <param name="options">The sampling options.</param>
    /// <param name="cancellation">Cancels between tokens.</param>
    /// <returns>The new tokens, each as soon as it is drawn.</returns>
    /// <exception cref="NibbleException">The prompt is empty or fills the model's context.</exception>
    internal static IEnumerable<int> Tokens(
        ITokenPredictor predictor, IReadOnlyList<int> prompt, Predicate<int> ends, GenerationOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(predictor);
        ArgumentNullException.ThrowIfNull(prompt);
        ArgumentNullException.ThrowIfNull(ends);
        ArgumentNullException.ThrowIfNull(options);
        if (prompt.Count == 0)
        {
            throw new NibbleException("the prompt is empty and the tokenizer has no start token. Provide a prompt");
        }

        return prompt.Count < predictor.MaxSequence
            ? Draw(predictor, prompt, ends, options, cancellation)
            : throw new NibbleException($"the prompt has {prompt.Count} tokens, expected fewer than the model's context of {predictor.MaxSequence}");
    }

    /// <summary>Continues tokens with the most likely token at each step.</summary>
    /// <param name="model">The model.</param>
    /// <param name="prompt">The tokens to continue. Together with <paramref name="count"/>, at most the model's maximum sequence length.</param>
    /// <param name="count">The number of new tokens.</param>
    /// <param name="cancellation">Cancels between tokens.</param>
    internal static int[] Continue(IDecoder model, IReadOnlyList<int> prompt, int count, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(prompt);
        using var predictor = new SimulatedPredictor(model);
        return [.. Draw(predictor, prompt, _ => false, new GenerationOptions(count, Temperature: 0), cancellation)];
    }

    private static IEnumerable<int> Draw(
        ITokenPredictor predictor, IReadOnlyList<int> prompt, Predicate<int> ends, GenerationOptions options, CancellationToken cancellation)
    {
        var sampler = new TokenSampler(options);
        var limit = Math.Min(options.MaxTokens, predictor.MaxSequence - prompt.Count);
        int[] next = [.. prompt];
        for (var written = 0; written < limit; written++)
        {
            cancellation.ThrowIfCancellationRequested();
            var id = sampler.Pick(predictor.Advance(next));
            if (ends(id))
            {
                yield break;
            }

            yield return id;
            next = [id];
        }
    }
}
