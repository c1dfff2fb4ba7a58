using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Shared;

/// <summary>Models whose key-value cache alone is quantized.</summary>
internal static class CacheModel
{
    /// <summary>Quantizes the cache as a recipe says, calibrated on the first windows of a text.</summary>
    public static QuantizedModel Make(LoadedModel source, Recipe recipe, TokenizedText text, int windows, int length)
    {
        var keys = new List<KeyQuantization>();
        using var folder = new TemporaryFolder();
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(Enumerable.Range(0, windows).SelectMany(window => text.Window(window * length, length)).ToArray(), windows, length);
        var embedding = source.Llama().named_parameters().Single(item => item.name == "model.embed_tokens.weight").parameter;
        var x = embedding.index_select(0, tokens.reshape(-1)).view(windows, length, -1);
        for (var i = 0; i < source.Llama().Blocks.Count; i++)
        {
            using var stream = Stream(folder, x);
            if (KeyValueCalibration.Run(
                source.Llama().Blocks[i], $"model.layers.{i}", stream, recipe.KeyValueCache!, source.Llama().Config.MaxSequence,
                CancellationToken.None) is { } block)
            {
                keys.Add(block);
            }

            x = source.Llama().Blocks[i].forward(x);
        }

        return Conversion.Assemble(source, [], recipe, "ptq", 0, new Dictionary<string, double>()) with { StaticKeys = keys };
    }

    /// <summary>A stream of one batch.</summary>
    public static ActivationStream Stream(TemporaryFolder folder, Tensor batch)
    {
        var stream = ActivationStream.Create(
            folder.File("stream"), [.. Enumerable.Repeat((int)batch.shape[1], (int)batch.shape[0])], (int)batch.shape[2], memoryLimit: 0);
        stream.Append(batch);
        stream.Complete();
        return stream;
    }
}
