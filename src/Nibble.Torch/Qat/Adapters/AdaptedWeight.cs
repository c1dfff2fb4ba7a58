using Nibble.Torch.Native;
using Nibble.Torch.Training;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat.Adapters;

/// <summary>
/// Fake-quantizes the sum of a frozen weight and a product of two narrow matrices. Only these matrices are trained: <c>W + BA</c> (LoRA, Hu et al. 2022, with
/// alpha equal to the rank).
/// </summary>
/// <remarks>
/// The sum is quantized, both in training and in <see cref="Convert"/>, so merging the adapter changes nothing. A [rank, in] is drawn from a normal
/// distribution of variance 1 / in. B [out, rank] starts at zero, so that training starts from the weight itself.
/// </remarks>
internal abstract class AdaptedWeight : WeightFakeQuantizer
{
    private readonly WeightFakeQuantizer inner;
    private readonly Parameter down;
    private readonly Parameter up;

    protected AdaptedWeight(WeightFakeQuantizer inner, QuantizationScheme scheme, int rows, int columns, int rank, Generator generator)
        : base(scheme, rows, columns)
    {
        using var scope = NewDisposeScope();
        this.inner = inner;
        down = (Parameter)TorchSharp.torch.nn.Parameter(randn(rank, columns, generator: generator).DividedBy(Math.Sqrt(columns))).DetachFromDisposeScope();
        up = (Parameter)TorchSharp.torch.nn.Parameter(zeros(rows, rank)).DetachFromDisposeScope();
    }

    public override IEnumerable<Parameter> Parameters => inner.Parameters;

    /// <summary>A and B.</summary>
    public IReadOnlyList<Parameter> Adapters => [down, up];

    /// <summary>Adapts a layer.</summary>
    /// <param name="settings">The estimator, the rank, and whether the weight is stored as NormalFloat.</param>
    /// <param name="scheme">The quantization scheme of the sum.</param>
    /// <param name="layer">The layer. Its weight is frozen, and released if it is stored as NormalFloat.</param>
    /// <param name="solution">
    /// An initial solution, whose values are in the layer. Null starts with the scales of least squared error.
    /// </param>
    /// <param name="generator">The random generator for A.</param>
    public static AdaptedWeight Create(QatSettings settings, QuantizationScheme scheme, IQuantizableLayer layer, QuantizedTensor? solution, Generator generator)
    {
        using var scope = NewDisposeScope();
        var (rows, columns) = ((int)layer.Weight.shape[0], (int)(layer.Weight.numel() / layer.Weight.shape[0]));
        layer.Weight.requires_grad_(false);
        var held = settings.Mode == TrainingMode.AdaptersOnNormalFloat ? NormalFloatWeight.Hold(layer) : null;
        var inner = Create(settings.Estimator, scheme, held?.Apply(layer.Weight) ?? layer.Weight, solution);
        return held is null
            ? new Kept(inner, scheme, rows, columns, settings.AdapterRank, generator)
            : new Held(held, inner, scheme, rows, columns, settings.AdapterRank, generator);
    }

    public override void ChangeScheme(QuantizationScheme next, Tensor weight)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        inner.ChangeScheme(next, Merge(weight));
    }

    public override Tensor Clip(Tensor weight) => inner.Clip(Merge(weight));

    public override float[] Save() => inner.Save();

    public override void Load(float[] values) => inner.Load(values);

    public override void Restart(Tensor weight, QuantizedTensor? solution) => inner.Restart(Merge(weight), solution);

    public override Tensor Apply(Tensor tensor) => inner.Apply(Merge(tensor));

    public override QuantizedTensor Convert(Tensor weight)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        return inner.Convert(Merge(weight));
    }

    /// <summary>The frozen weight.</summary>
    /// <param name="own">The layer's own weight.</param>
    protected abstract Tensor Base(Tensor own);

    private Tensor Merge(Tensor own) => Base(own).Plus(up.matmul(down).view(own.shape));

    private sealed class Kept(WeightFakeQuantizer inner, QuantizationScheme scheme, int rows, int columns, int rank, Generator generator)
        : AdaptedWeight(inner, scheme, rows, columns, rank, generator)
    {
        protected override Tensor Base(Tensor own) => own;
    }

    private sealed class Held(
        NormalFloatWeight held, WeightFakeQuantizer inner, QuantizationScheme scheme, int rows, int columns, int rank, Generator generator)
        : AdaptedWeight(inner, scheme, rows, columns, rank, generator), ITransientWeight
    {
        public IReadOnlyList<Tensor> Sources => [.. Parameters, .. Adapters];

        protected override Tensor Base(Tensor own) => held.Apply(own);
    }
}
