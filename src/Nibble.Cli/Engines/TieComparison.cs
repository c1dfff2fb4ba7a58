using Nibble.Artifacts;
using Nibble.Onnx.Engine;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's answers differ from the simulation's once ties between codes of inputs are decided as in the engine.</summary>
/// <param name="Codes">Codes of the inputs of layers that were compared.</param>
/// <param name="Ties">Those at a tie that the engine decided otherwise.</param>
/// <param name="Mismatches">Those that differ without being at a tie.</param>
/// <param name="Farthest">How far from its tie the farthest of the ties lies, in steps.</param>
/// <param name="LargestDifference">The largest difference between two log-probabilities, or between a classifier's logits, with ties decided as in the engine.</param>
/// <param name="SameLogits">Whether the file computes the same bits when it puts out its codes as well, without which its ties cannot be known.</param>
internal sealed record TieDifference(long Codes, long Ties, long Mismatches, double Farthest, double LargestDifference, bool SameLogits)
{
    /// <summary>By how much logits may differ, with ties decided alike, when nobody says.</summary>
    public const double UsualLogitTolerance = 0.01;

    /// <summary>Whether ties are all that differs.</summary>
    /// <param name="logitTolerance">By how much logits may differ.</param>
    public bool IsWithin(double logitTolerance) => Mismatches == 0 && LargestDifference <= logitTolerance;
}

/// <summary>Computes text by a file with quantized inputs in ONNX Runtime, and by the simulation with ties decided as there.</summary>
internal sealed class TieComparison : IDisposable
{
    private readonly LoadedModel model;
    private readonly EngineDecisions decisions;
    private readonly OnnxRuntimeDecoder engine;
    private CodeComparison codes;
    private double largest;
    private bool sameLogits = true;

    private TieComparison(LoadedModel model, QuantizedModel quantized, string path, int threads)
    {
        this.model = model;
        decisions = new EngineDecisions(model.Model.Linears, quantized);
        engine = OnnxRuntimeDecoder.OpenProbed(path, threads);
    }

    /// <summary>What was found so far.</summary>
    public TieDifference Difference => new(codes.Codes, codes.Ties, codes.Mismatches, codes.Farthest, largest, sameLogits);

    /// <summary>Loads a file a second time.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="file">Its exported file.</param>
    /// <param name="threads">Threads of the engine.</param>
    /// <returns>Null where there is nothing to decide: the model's inputs are float, or another engine runs the file.</returns>
    public static TieComparison? Start(LoadedModel model, ExportedFile file, int threads) =>
        file.Engine == OnnxRuntimeEngine.EngineName && model.Quantized is { QuantizesInputs: true } quantized ? new TieComparison(model, quantized, file.Path, threads) : null;

    /// <summary>Computes a window.</summary>
    /// <param name="window">Its tokens.</param>
    /// <param name="first">The first position to compare.</param>
    /// <param name="theirs">The log-probabilities that the file computes of the positions from <paramref name="first"/> on but for the last, [positions, vocabulary].</param>
    public void Add(long[] window, int first, Tensor theirs)
    {
        using var scope = NewDisposeScope();
        var (logits, inputs) = engine.Probe(Array.ConvertAll(window, id => (int)id));
        var probed = tensor(logits, window.Length, engine.VocabularySize).narrow(0, first, theirs.shape[0]).log_softmax(1);
        sameLogits &= probed.eq(theirs).all().item<bool>();
        var (ours, compared) = decisions.Run(inputs, () => Evaluator.Score(model.Model, tensor(window, 1, window.Length), first));
        codes += compared;

        // NaN is within no tolerance.
        var difference = (ours - theirs).abs().max().item<float>();
        largest = Math.Max(largest, float.IsNaN(difference) ? double.PositiveInfinity : difference);
    }

    public void Dispose() => engine.Dispose();
}
