using Nibble.Artifacts;
using Nibble.Planning;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>
/// A quick measurement of the cost of quantizing each layer separately, on as many windows as there is time for. It shows where the loss of a bit width comes
/// from.
/// </summary>
/// <param name="options">The advisor's options.</param>
/// <param name="budget">The remaining time.</param>
internal sealed class SensitivityProbe(AdvisorOptions options, ProbeBudget budget)
{
    /// <summary>The maximum number of windows. More would not improve the order of layers.</summary>
    private const int MostWindows = 8;

    /// <summary>The maximum ratio of actual to planned time. Warm-up and a busy machine can multiply the time.</summary>
    private const double Patience = 3;

    /// <summary>The number of texts that count as one window.</summary>
    private const int TextsOfWindow = 64;

    private readonly List<LayerDistance> measured = [];

    private int Pieces => options.HeldOut is TokenizedText ? 1 : Math.Min(TextsOfWindow, options.HeldOut.CountPieces(options.Context));
    private bool isTooSlow;

    /// <summary>The results for the layers of each measured bit width, in the order of the calls.</summary>
    public IReadOnlyList<LayerDistance> Measured => measured;

    /// <summary>
    /// Puts the layers of a quantized model into the float model one at a time, window by window. If there is no time for one window of all layers, nothing is
    /// kept and later calls do nothing.
    /// </summary>
    /// <param name="candidate">
    /// The option of the quantized model, with round to nearest. With other algorithms, the result for a layer depends on the layers before it.
    /// </param>
    /// <param name="quantized">The quantized model.</param>
    /// <param name="seconds">The planned time in seconds.</param>
    public void Run(Candidate candidate, QuantizedModel quantized, double seconds)
    {
        if (isTooSlow)
        {
            return;
        }

        // A head that was tied to the embedding is not a separate layer in the float model.
        var known = options.Source.Model.Layers.Select(layer => layer.Key).ToHashSet(StringComparer.Ordinal);
        List<QuantizedLayer> layers = [.. quantized.Layers.Where(layer => known.Contains(layer.Name))];
        var passes = new List<Distance[]>();
        budget.Try(
            candidate.Name,
            Patience * seconds,
            (progress, stop) =>
            {
                var began = options.Clock();
                using var model = LoadedModel.Open(options.Source.Folder, options.Source.Task);
                var last = 0d;
                for (var window = 0; window < Math.Min(MostWindows, options.HeldOut.CountPieces(options.Context) / Pieces)
                    && (window == 0 || options.Clock() - began + last < seconds); window++)
                {
                    var start = options.Clock();
                    passes.Add(Pass(model, layers, window, progress, stop));
                    last = options.Clock() - start;
                }
            },
            out _);
        isTooSlow = passes.Count == 0;
        if (!isTooSlow)
        {
            measured.AddRange(layers.Select((layer, i) => new LayerDistance(layer.Name, candidate.Recipe.Name, Mean([.. passes.Select(pass => pass[i])]))));
        }
    }

    /// <summary>Measures all layers on one window.</summary>
    private Distance[] Pass(LoadedModel model, List<QuantizedLayer> layers, int window, IProgress<RunProgress> progress, CancellationToken stop)
    {
        using var comparison = FloatComparison.Create(options.Source.Model, options.HeldOut.Take(window * Pieces, Pieces, options.Context), options.Context);
        var found = new Distance[layers.Count];
        for (var i = 0; i < found.Length; i++)
        {
            var layer = layers[i];
            found[i] = comparison.MeasureWith(model.Model, layer.Name, layer.Weight, stop);
            progress.Report(new RunProgress("sensitivity", i + 1, found.Length));
        }

        return found;
    }

    private static Distance Mean(IReadOnlyList<Distance> windows)
    {
        var (loss, divergence) = (
            Estimate.OfMean([.. windows.Select(window => window.Loss)]), Estimate.OfMean([.. windows.Select(window => window.Divergence)]));
        return windows.Count == 1 ? windows[0] : new Distance(loss.Value, loss.StandardError, divergence.Value, divergence.StandardError);
    }
}
