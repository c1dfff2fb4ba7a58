using Nibble.Artifacts;
using Nibble.Planning;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>A quick look at what each layer costs alone, on as many windows as there is time for: where the loss of a width comes from.</summary>
/// <param name="options">What may be used.</param>
/// <param name="budget">The time left.</param>
internal sealed class SensitivityProbe(AdvisorOptions options, ProbeBudget budget)
{
    /// <summary>More windows would tell the order of layers no better.</summary>
    private const int MostWindows = 8;

    /// <summary>How much longer than planned it may take before it is stopped.</summary>
    private const double Patience = 2;

    private readonly List<LayerDistance> measured = [];

    /// <summary>The layers of each width that was looked at, most bits first in the order of the calls.</summary>
    public IReadOnlyList<LayerDistance> Measured => measured;

    /// <summary>Puts the layers of a quantized model into the float model one at a time. Where there is no time for all of them, none is kept.</summary>
    /// <param name="candidate">What the quantized model is, by round to nearest: what other algorithms do to a layer counts on the layers before it.</param>
    /// <param name="quantized">The quantized model.</param>
    /// <param name="seconds">Seconds it should take.</param>
    public void Run(Candidate candidate, QuantizedModel quantized, double seconds)
    {
        var found = new List<LayerDistance>();
        var ended = budget.Try(
            candidate.Name,
            Patience * seconds,
            (progress, stop) =>
            {
                var windows = WindowsIn(seconds, quantized.Layers.Count, stop);
                if (windows == 0)
                {
                    return;
                }

                using var model = LoadedModel.Open(options.Source.Folder);
                using var comparison = Comparison(windows);
                foreach (var layer in quantized.Layers)
                {
                    found.Add(new LayerDistance(layer.Name, candidate.Recipe.Name, comparison.MeasureWith(model.Model, layer.Name, layer.Weight, stop)));
                    progress.Report(new RunProgress("sensitivity", found.Count, quantized.Layers.Count));
                }
            },
            out _);
        if (ended)
        {
            measured.AddRange(found);
        }
    }

    /// <summary>The windows for which the layers fit into some time, by a second look at one: the first warms up, and is not counted. 0 where not even one does.</summary>
    private int WindowsIn(double seconds, int layers, CancellationToken stop)
    {
        using var single = Comparison(1);
        single.Measure(options.Source.Model, stop);
        var began = options.Clock();
        single.Measure(options.Source.Model, stop);
        var window = options.Clock() - began;
        return (int)Math.Min(Math.Min(MostWindows, options.HeldOut.WindowCount(options.Context)), seconds / (layers * window));
    }

    private FloatComparison Comparison(int windows) => new(options.Source.Model, options.HeldOut with { Ids = options.HeldOut.Ids[..(windows * options.Context)] }, options.Context);
}
