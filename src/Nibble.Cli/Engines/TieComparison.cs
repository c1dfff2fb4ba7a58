using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Engine;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's answers differ from the simulation's once ties between codes of inputs are decided as in the engine.</summary>
/// <param name="Codes">Codes of the inputs of layers that were compared.</param>
/// <param name="Ties">Those at a tie that the engine decided otherwise.</param>
/// <param name="Mismatches">Those that differ without being at a tie.</param>
/// <param name="FirstMismatch">The first layer, in the first run with any, whose input has such codes; null where there are none.</param>
/// <param name="Farthest">How far from its tie the farthest of the ties lies, in steps.</param>
/// <param name="LargestDifference">The largest difference between two log-probabilities, or between a classifier's logits, with ties decided as in the
/// engine.</param>
/// <param name="SameLogits">Whether the file computes the same bits when it puts out its codes as well, without which its ties cannot be known.</param>
internal sealed record TieDifference(long Codes, long Ties, long Mismatches, string? FirstMismatch, double Farthest, double LargestDifference, bool SameLogits)
{
    /// <summary>By how much logits may differ, with ties decided alike, when nobody says.</summary>
    public const double UsualLogitTolerance = 0.01;

    /// <summary>Whether ties are all that differs.</summary>
    /// <param name="logitTolerance">By how much logits may differ.</param>
    public bool IsWithin(double logitTolerance) => Mismatches == 0 && LargestDifference <= logitTolerance;
}

/// <summary>Holds what an engine computed against the simulation with ties decided as there.</summary>
/// <param name="decisions">Decides them.</param>
internal sealed class TieComparison(EngineDecisions decisions)
{
    private CodeComparison codes;
    private string? firstMismatch;
    private double largest;
    private bool sameLogits = true;

    /// <summary>What was found so far.</summary>
    public TieDifference Difference => new(codes.Codes, codes.Ties, codes.Mismatches, firstMismatch, codes.Farthest, largest, sameLogits);

    /// <summary>Compares one run.</summary>
    /// <param name="theirs">What the file computes.</param>
    /// <param name="probed">What it computes when it puts out its codes as well.</param>
    /// <param name="inputs">These codes, by layer.</param>
    /// <param name="simulate">Runs the simulation.</param>
    public void Add(Tensor theirs, Tensor probed, IReadOnlyDictionary<string, TokenCodes> inputs, Func<Tensor> simulate)
    {
        sameLogits &= probed.eq(theirs).all().item<bool>();
        var (ours, layers) = decisions.Run(inputs, simulate);
        foreach (var (name, compared) in layers)
        {
            codes += compared;
            firstMismatch ??= compared.Mismatches > 0 ? name : null;
        }

        // NaN is within no tolerance.
        var difference = (ours - theirs).abs().max().item<float>();
        largest = Math.Max(largest, float.IsNaN(difference) ? double.PositiveInfinity : difference);
    }
}

/// <summary>A decoder's file with quantized inputs, loaded a second time into ONNX Runtime to tell its codes.</summary>
internal sealed class DecoderTies : IDisposable
{
    private readonly LoadedModel model;
    private readonly OnnxRuntimeDecoder engine;
    private readonly TieComparison comparison;

    private DecoderTies(LoadedModel model, QuantizedModel quantized, string path, int threads)
    {
        this.model = model;
        engine = OnnxRuntimeDecoder.OpenProbed(path, threads);
        comparison = new TieComparison(new EngineDecisions(model.Model.Linears(), quantized));
    }

    /// <summary>What was found so far.</summary>
    public TieDifference Difference => comparison.Difference;

    /// <summary>Loads a file.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="file">Its exported file.</param>
    /// <param name="threads">Threads of the engine.</param>
    /// <returns>Null where there is nothing to decide: the model's inputs are float, or another engine runs the file.</returns>
    public static DecoderTies? Open(LoadedModel model, ExportedFile file, int threads) =>
        file.Engine == OnnxRuntimeEngine.EngineName && model.Quantized is { QuantizesInputs: true } quantized
            ? new DecoderTies(model, quantized, file.Path, threads) : null;

    /// <summary>Computes a window.</summary>
    /// <param name="window">Its tokens.</param>
    /// <param name="first">The first position to compare.</param>
    /// <param name="theirs">The log-probabilities that the file computes of the positions from <paramref name="first"/> on but for the last, [positions,
    /// vocabulary].</param>
    public void Add(long[] window, int first, Tensor theirs)
    {
        using var scope = NewDisposeScope();
        var (logits, inputs) = engine.Probe(Array.ConvertAll(window, id => (int)id));
        var probed = tensor(logits, window.Length, engine.VocabularySize).narrow(0, first, theirs.shape[0]).log_softmax(1);
        comparison.Add(theirs, probed, inputs, () => Evaluator.Score(model.Decoder, tensor(window, 1, window.Length), first));
    }

    public void Dispose() => engine.Dispose();
}

/// <summary>An encoder's file with quantized inputs, loaded a second time into ONNX Runtime to tell its codes.</summary>
internal sealed class EncoderTies : IDisposable
{
    private readonly LoadedModel model;
    private readonly OnnxRuntimeEncoder engine;
    private readonly TieComparison comparison;

    private EncoderTies(LoadedModel model, QuantizedModel quantized, string path, int threads)
    {
        this.model = model;
        engine = OnnxRuntimeEncoder.OpenProbed(path, threads);
        comparison = new TieComparison(new EngineDecisions(model.Model.Linears(), quantized));
    }

    /// <inheritdoc cref="DecoderTies.Difference"/>
    public TieDifference Difference => comparison.Difference;

    /// <inheritdoc cref="DecoderTies.Open"/>
    public static EncoderTies? Open(LoadedModel model, string path, int threads) =>
        model.Quantized is { QuantizesInputs: true } quantized ? new EncoderTies(model, quantized, path, threads) : null;

    /// <summary>Computes a batch.</summary>
    /// <param name="batch">The texts.</param>
    /// <param name="theirs">The values that the file computes.</param>
    public void Add(ModelBatch batch, Tensor theirs)
    {
        using var scope = NewDisposeScope();
        var (ids, mask, types) = EncoderComparison.Inputs(batch);
        var (values, inputs) = engine.Probe(ids, mask, (int)batch.Ids.shape[1], types);
        comparison.Add(theirs, tensor(values, theirs.shape), inputs, () => model.Model.Compute(batch));
    }

    public void Dispose() => engine.Dispose();
}
