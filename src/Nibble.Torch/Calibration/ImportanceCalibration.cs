using Nibble.Models.Llama;
using Nibble.Formats.Gguf;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>Runs text through a float model and adds up the squares of what each linear layer reads.</summary>
/// <remarks>As ggml-org/llama.cpp, <c>tools/imatrix</c>, does: all layers of the blocks, under their names in GGUF files; not the head.</remarks>
public static class ImportanceCalibration
{
    /// <summary>Makes an importance matrix.</summary>
    /// <param name="model">The float model; unchanged afterwards.</param>
    /// <param name="text">The text, from its beginning.</param>
    /// <param name="length">Tokens in a window, at least 1.</param>
    /// <param name="windows">The most windows to look at; null for all.</param>
    /// <param name="progress">Told after each window.</param>
    /// <param name="cancellation">Stops between windows.</param>
    /// <exception cref="NibbleException">The text is shorter than a window, or an input is not finite.</exception>
    public static ImportanceMatrix Run(
        IDecoder model, TokenizedText text, int length, int? windows, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(text);
        text.RequireWindow(length);
        var count = Math.Min(windows ?? int.MaxValue, text.WindowCount(length));
        var names = GgufNames.Of((LlamaConfig)model.Definition).ToDictionary(tensor => tensor.Source, tensor => tensor.Name);
        var watched = model.Linears().Where(linear => linear.Key != LlamaConfig.HeadName)
            .Select(linear => (Name: names[linear.Key + ".weight"], Layer: linear.Value, Sum: new SquareSum(linear.Value.InFeatures))).ToList();
        try
        {
            watched.ForEach(item => item.Layer.InputQuantizer = item.Sum);
            using var guard = no_grad();
            for (var i = 0; i < count; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                model.Logits(tensor(text.Window(i * length, length), 1, length));
                progress?.Report(new RunProgress("imatrix", i + 1, count));
            }

            return new ImportanceMatrix(
                watched.ToDictionary(item => item.Name, item => item.Sum.Result(item.Name, (long)count * length)), [text.Name], count, length);
        }
        finally
        {
            foreach (var (_, layer, sum) in watched)
            {
                layer.InputQuantizer = null;
                sum.Dispose();
            }
        }
    }

    /// <summary>Adds up squares, and passes inputs on unchanged.</summary>
    private sealed class SquareSum(int columns) : ITensorQuantizer, IDisposable
    {
        // Sums over many tokens would lose the digits of single ones in 32 bits.
        private readonly Tensor sum = zeros(columns, float64).DetachFromDisposeScope();

        public Tensor Apply(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            sum.add_(tensor.detach().reshape(-1, columns).square().sum([0L], type: float64));
            return tensor.alias().MoveToOuterDisposeScope();
        }

        public InputSquares Result(string name, long tokens)
        {
            var squares = Array.ConvertAll(sum.data<double>().ToArray(), value => (float)value);
            return Array.TrueForAll(squares, float.IsFinite)
                ? new InputSquares(squares, [tokens])
                : throw new NibbleException(
                    $"imatrix: the input of '{name}' holds values that are not finite or too large to be squared; the float model itself overflows on "
                    + $"this text");
        }

        public void Dispose() => sum.Dispose();
    }
}
