using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models.Bert;

/// <summary>Artifacts of classifiers, quantized without training.</summary>
internal static class QuantizedBert
{
    /// <summary>Writes an artifact; the model is prepared afterwards, and computes what the artifact does.</summary>
    /// <param name="loaded">The float classifier.</param>
    /// <param name="recipe">What to do with its layers.</param>
    /// <param name="folder">The folder to write.</param>
    public static string Write(LoadedClassifier loaded, Recipe recipe, string folder)
    {
        var inputs = ActivationCalibration.Run(loaded.Model, recipe, () =>
        {
            using var guard = no_grad();
            using var scope = NewDisposeScope();
            var (ids, mask) = Batch(loaded.Model.Config, seed: 5);
            loaded.Model.call(ids, mask);
        });
        var prepared = QuantizationAware.Prepare(loaded.Model, recipe, new PrepareOptions { Inputs = inputs });
        loaded.Model.eval();
        QuantizedModelFile.Save(loaded.Complete(prepared.Convert(seed: 1)), folder);
        return folder;
    }

    /// <summary>Random sequences of 2 to 9 tokens with padding behind them.</summary>
    public static (Tensor Ids, Tensor Mask) Batch(BertConfig config, int seed)
    {
        const int Rows = 8, Length = 9;
        var random = new Random(seed);
        var (ids, mask) = (new long[Rows * Length], new bool[Rows * Length]);
        for (var i = 0; i < ids.Length; i++)
        {
            mask[i] = i % Length < 2 + (i / Length);
            ids[i] = mask[i] ? random.Next(config.VocabularySize) : config.PaddingId;
        }

        return (tensor(ids, Rows, Length), tensor(mask, Rows, Length));
    }
}
