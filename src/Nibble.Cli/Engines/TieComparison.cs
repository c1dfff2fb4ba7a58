using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Engine;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's results differ from the simulation's once ties between input codes are decided as in the engine.</summary>
/// <param name="Codes">Number of input codes compared.</param>
/// <param name="Ties">Codes at a tie that the engine decided differently.</param>
/// <param name="Mismatches">Codes that differ without being at a tie.</param>
/// <param name="FirstMismatch">The first layer with such codes in its input, in the first run that has any; null if there are none.</param>
/// <param name="Farthest">The largest distance of a value from its tie, in steps.</param>
/// <param name="LargestDifference">The largest difference between two log-probabilities, or between a classifier's logits, with ties decided as in the
/// engine.</param>
/// <param name="SameLogits">Whether the file computes the same bits when it also outputs its codes. If not, its ties are unknown.</param>
internal sealed record TieDifference(long Codes, long Ties, long Mismatches, string? FirstMismatch, double Farthest, double LargestDifference, bool SameLogits)
{
    /// <summary>The default tolerance of logits, with ties decided as in the engine.</summary>
    public const double DefaultLogitTolerance = 0.01;

    /// <summary>Whether ties explain all differences.</summary>
    /// <param name="logitTolerance">The largest acceptable difference of logits.</param>
    public bool IsWithin(double logitTolerance) => Mismatches == 0 && LargestDifference <= logitTolerance;
}

/// <summary>Compares an engine's results with the simulation, with ties decided as in the engine.</summary>
/// <param name="decisions">Decides the ties.</param>
internal sealed class TieComparison(EngineDecisions decisions)
{
    private CodeComparison codes;
    private string? firstMismatch;
    private double largest;
    private bool sameLogits = true;

    /// <summary>The result so far.</summary>
    public TieDifference Difference => new(codes.Codes, codes.Ties, codes.Mismatches, firstMismatch, codes.Farthest, largest, sameLogits);

    /// <summary>Compares one run.</summary>
    /// <param name="theirs">What the file computes.</param>
    /// <param name="probed">What the file computes when it also outputs its codes.</param>
    /// <param name="inputs">The codes, by layer.</param>
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

        // NaN is never within tolerance.
        var difference = (ours - theirs).abs().max().item<float>();
        largest = Math.Max(largest, float.IsNaN(difference) ? double.PositiveInfinity : difference);
    }
}

/// <summary>A decoder's file with quantized inputs, loaded a second time into ONNX Runtime to output its codes.</summary>
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

    /// <summary>The result so far.</summary>
    public TieDifference Difference => comparison.Difference;

    /// <summary>Loads a file.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="file">Its exported file.</param>
    /// <param name="threads">Threads of the engine.</param>
    /// <returns>Null if there is nothing to decide: the model's inputs are float, or another engine runs the file.</returns>
    public static DecoderTies? Open(LoadedModel model, ExportedFile file, int threads) =>
        file.Engine == OnnxRuntimeEngine.EngineName && model.Quantized is { QuantizesInputs: true } quantized
            ? new DecoderTies(model, quantized, file.Path, threads) : null;

    /// <summary>Computes a window.</summary>
    /// <param name="window">Its tokens.</param>
    /// <param name="first">The first position to compare.</param>
    /// <param name="theirs">The file's log-probabilities of the positions from <paramref name="first"/> to the last but one, [positions,
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

/// <summary>An encoder's file with quantized inputs, loaded a second time into ONNX Runtime to output its codes.</summary>
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
