using Nibble.Models.Decoders;
using Nibble.Formats.Gguf;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>Runs text through a float model and sums the squares of each linear layer's inputs.</summary>
/// <remarks>
/// Like ggml-org/llama.cpp, <c>tools/imatrix</c>, it covers all layers of the blocks, under their names in GGUF files, but not the head.
/// </remarks>
public static class ImportanceCalibration
{
    /// <summary>Creates an importance matrix.</summary>
    /// <param name="model">The float model. It is unchanged afterwards.</param>
    /// <param name="text">The text, which is used from its start.</param>
    /// <param name="length">Tokens per window, at least 1.</param>
    /// <param name="windows">The maximum number of windows. Null uses all.</param>
    /// <param name="progress">Receives progress after each window.</param>
    /// <param name="cancellation">Cancels between windows.</param>
    /// <exception cref="NibbleException">The text is shorter than a window, or an input is not finite.</exception>
    public static ImportanceMatrix Run(
        IDecoder model, TokenizedText text, int length, int? windows, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(text);
        text.RequireWindow(length);
        var count = Math.Min(windows ?? int.MaxValue, text.WindowCount(length));
        var names = GgufNames.Of((DecoderConfig)model.Definition).ToDictionary(tensor => tensor.Source, tensor => tensor.Name);
        var watched = model.Linears().Where(linear => linear.Key != DecoderConfig.HeadName)
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

    /// <summary>Sums squares and passes inputs on unchanged.</summary>
    private sealed class SquareSum(int columns) : ITensorQuantizer, IDisposable
    {
        // In float32, sums over many tokens would lose the digits of single values.
        private readonly Tensor sum = zeros(columns, float64).DetachFromDisposeScope();

        public Tensor Apply(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            sum.AddInPlace(tensor.detach().reshape(-1, columns).Square().sum([0L], type: float64));
            return tensor.alias().MoveToOuterDisposeScope();
        }

        public InputSquares Result(string name, long tokens)
        {
            var squares = Array.ConvertAll(sum.data<double>().ToArray(), value => (float)value);
            return Array.TrueForAll(squares, float.IsFinite)
                ? new InputSquares(squares, [tokens])
                : throw new NibbleException(
                    $"imatrix: the input of '{name}' holds values that are not finite or too large to be squared. The float model itself overflows on "
                    + $"this text");
        }

        public void Dispose() => sum.Dispose();
    }
}
