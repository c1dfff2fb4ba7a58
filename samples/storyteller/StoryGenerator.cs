using Nibble.Torch.Models;
using TorchSharp;

namespace Nibble.Samples.Storyteller;

/// <summary>Samples stories from a model, many at a time, at temperature 1 from the most likely tokens (Holtzman et al. 2020).</summary>
/// <param name="model">The model, trained on stories with a blank line between them.</param>
/// <param name="seed">The same seed gives the same stories.</param>
/// <param name="tokens">The tokens of a story at most, with the blank lines around it.</param>
internal sealed class StoryGenerator(LoadedModel model, int seed, int tokens)
{
    /// <summary>Stories sampled together.</summary>
    private const int Rows = 32;

    /// <summary>The share of the probability that the most likely tokens hold together, from which the next one is drawn.</summary>
    private const double TopP = 0.95;

    /// <summary>Stories sampled for each story wanted before giving up. A trained model needs fewer than 4.</summary>
    private const int MostTries = 40;

    private readonly Random random = new(seed);

    /// <summary>Samples different stories that end by themselves.</summary>
    /// <param name="count">The number of stories.</param>
    /// <param name="progress">Receives the number of stories after each batch.</param>
    /// <exception cref="NibbleException">Stories do not fit the model's context, too few end, or the model's logits are not finite.</exception>
    public List<string> Write(int count, Action<int> progress)
    {
        // The blank line before a story says that a story begins.
        int[] prompt = [.. model.Tokenizer.StartId is { } start ? [start] : Array.Empty<int>(), .. model.Tokenizer.Encode(Stories.End)];
        if (tokens <= prompt.Length || tokens > model.Definition.MaxSequence)
        {
            throw new NibbleException(
                $"{tokens} tokens were asked for a story, expected {prompt.Length + 1} to {model.Definition.MaxSequence}, which is the model's context");
        }

        var stories = new List<string>();
        var known = new HashSet<string>(StringComparer.Ordinal);
        for (var tried = 0; stories.Count < count; tried += Rows)
        {
            if (tried >= Math.Max(Rows, (long)count * MostTries))
            {
                throw new NibbleException(
                    $"{model.Folder}: only {stories.Count} of {tried} sampled stories are new and end within {tokens} tokens. Train the model longer");
            }

            stories.AddRange(WriteBatch(prompt).Where(known.Add));
            progress(Math.Min(stories.Count, count));
        }

        return stories[..count];
    }

    private IEnumerable<string> WriteBatch(int[] prompt)
    {
        var written = Enumerable.Range(0, Rows).Select(_ => new List<int>()).ToArray();
        var open = Enumerable.Range(0, Rows).ToHashSet();
        var next = Enumerable.Range(0, Rows).SelectMany(_ => prompt).Select(id => (long)id).ToArray();
        using var guard = torch.no_grad();
        using var cache = new KeyValueCache(model.Definition.Layers);
        for (var length = prompt.Length; length < tokens && open.Count > 0; length++)
        {
            using var scope = torch.NewDisposeScope();
            next = Draw(model.Decoder.Logits(torch.tensor(next, Rows, next.Length / Rows), cache).select(1, -1));
            foreach (var row in open.ToArray())
            {
                written[row].Add((int)next[row]);
                if (Ends(written[row]))
                {
                    open.Remove(row);
                }
            }
        }

        return written.Where((_, row) => !open.Contains(row)).Select(TextOf).Where(story => story.Length > 0);
    }

    /// <summary>Draws the next token of each row.</summary>
    /// <param name="logits">[rows, vocabulary].</param>
    private long[] Draw(torch.Tensor logits)
    {
        var (shares, order) = logits.to(torch.float64).softmax(1).sort(1, descending: true);
        var sums = shares.cumsum(1);
        if (!sums.isfinite().all().item<bool>())
        {
            throw new NibbleException($"{model.Folder}: the model's logits are NaN or infinite. Train it again");
        }

        // The kept tokens are those up to the first that brings the sum to TopP; their share is that sum.
        var kept = sums.masked_fill(sums.lt(TopP), 1).amin([1], keepdim: true);
        var draws = torch.tensor(Enumerable.Range(0, Rows).Select(_ => random.NextDouble()).ToArray(), Rows, 1) * kept;
        var places = sums.le(draws).sum(1, keepdim: true).clamp_max(sums.shape[1] - 1);
        return order.gather(1, places).data<long>().ToArray();
    }

    private bool Ends(List<int> ids) => model.Tokenizer.StopIds.Contains(ids[^1])
        || (ids.Count > 1 && model.Tokenizer.Decode(ids[^2..]).EndsWith(Stories.End, StringComparison.Ordinal));

    private string TextOf(List<int> ids) =>
        model.Tokenizer.Decode(model.Tokenizer.StopIds.Contains(ids[^1]) ? ids[..^1] : ids).Trim();
}
