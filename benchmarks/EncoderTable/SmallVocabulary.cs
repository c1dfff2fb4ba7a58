using Nibble.Formats.HuggingFace;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>The part of BERT's vocabulary that a small data set can teach.</summary>
/// <remarks>
/// Most of the 30,522 tokens never occur in SST-2, and a token that occurs once teaches its text by heart. Without them, WordPiece spells
/// rare words in shorter pieces that are known, and the table of words is a fifth as large, which is most of a training step.
/// </remarks>
internal static class SmallVocabulary
{
    /// <summary>Writes a <c>vocab.txt</c> of the special tokens, the single characters and the tokens that texts use often enough, in their old order.</summary>
    /// <param name="source">A folder with the full <c>vocab.txt</c>.</param>
    /// <param name="texts">A file of lines <c>text TAB class</c>.</param>
    /// <param name="least">How often a token must occur to stay; 0 keeps all.</param>
    /// <param name="folder">The folder to write to.</param>
    /// <returns>How many tokens there are.</returns>
    public static int Write(string source, string texts, int least, string folder)
    {
        var tokenizer = TextTokenizer.Load(source);
        var counts = new int[tokenizer.VocabularySize];
        foreach (var line in File.ReadLines(texts))
        {
            foreach (var id in tokenizer.Encode(line[..Math.Max(0, line.LastIndexOf('\t'))]))
            {
                counts[id]++;
            }
        }

        var kept = File.ReadAllLines(Path.Combine(source, "vocab.txt")).Where((token, id) => counts[id] >= least || IsSpecial(token) || IsCharacter(token)).ToArray();
        File.WriteAllLines(Path.Combine(folder, "vocab.txt"), kept);
        return kept.Length;
    }

    private static bool IsSpecial(string token) => token is "[PAD]" or "[UNK]" or "[CLS]" or "[SEP]" or "[MASK]";

    private static bool IsCharacter(string token) => token is [<= '~'] or ['#', '#', <= '~'];
}
