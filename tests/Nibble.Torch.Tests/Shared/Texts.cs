using Nibble.Tests.Shared;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Tests.Shared;

/// <summary>Texts and models to score.</summary>
internal static class Texts
{
    /// <summary>Random bytes with a pattern to learn: every second token follows from the one before it.</summary>
    public static TokenizedText Random(int length, int seed = 1)
    {
        var random = new Random(seed);
        var ids = new int[length];
        for (var i = 0; i < length; i++)
        {
            ids[i] = i % 2 == 0 ? random.Next(256) : (ids[i - 1] + 1) % 256;
        }

        return new TokenizedText("random", ids, TinyLlama.Bos);
    }

    public static LoadedModel Stories() => LoadedModel.Open(SharedData.Require("stories260K"));

    public static TokenizedText TinyStories(string file, LoadedModel model) =>
        TokenizedText.Read(Path.Combine(SharedData.Require("tinystories"), file), model.Tokenizer);
}

/// <summary>Reports progress at once and on the caller's thread.</summary>
internal sealed class Told(Action<RunProgress>? then = null) : IProgress<RunProgress>
{
    public List<RunProgress> All { get; } = [];

    public void Report(RunProgress value)
    {
        All.Add(value);
        then?.Invoke(value);
    }
}
