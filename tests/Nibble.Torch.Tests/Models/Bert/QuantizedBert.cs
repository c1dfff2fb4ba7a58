using Nibble.Formats.CompressedTensors;
using Nibble.Models.Bert;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Torch.Tests.Models.Bert;

/// <summary>Artifacts of encoders, quantized without training on random texts.</summary>
internal static class QuantizedBert
{
    /// <summary>Writes an artifact.</summary>
    /// <param name="loaded">The float encoder, read from a checkpoint.</param>
    /// <param name="recipe">What to do with its layers.</param>
    /// <param name="folder">The folder to write.</param>
    public static string Write(LoadedModel loaded, Recipe recipe, string folder)
    {
        QuantizedModelFile.Save(PostTrainingQuantizer.Run(loaded, recipe, new RandomTexts((BertConfig)loaded.Definition, Seed: 5), seed: 1), folder);
        return folder;
    }

    /// <summary>Random sequences of 2 to 9 tokens with padding behind them.</summary>
    public static ModelBatch Batch(BertConfig config, int seed) => ModelBatch.Of(new RandomTexts(config, seed).Sequences, config.PaddingId);

    /// <summary>Random sequences of 2 to 9 tokens.</summary>
    internal sealed record RandomTexts(BertConfig Config, int Seed) : ICalibrationData
    {
        private const int Rows = 8;

        public string Name => "random texts";

        public IReadOnlyList<TokenSequence> Sequences
        {
            get
            {
                var random = new Random(Seed);
                return [.. Enumerable.Range(
                    0, Rows).Select(row => new TokenSequence([.. Enumerable.Range(0, 2 + row).Select(_ => random.Next(Config.VocabularySize))]))];
            }
        }

        public CalibrationPieces Pieces(int count, int length, long seed) => new(Sequences, Name);
    }
}
