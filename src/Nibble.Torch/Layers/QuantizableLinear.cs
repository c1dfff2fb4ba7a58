using Nibble.Recipes;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>Stands between a tensor and the layer that uses it: fake-quantizes it, watches it, or both.</summary>
public interface ITensorQuantizer
{
    /// <summary>What the layer computes with in the place of <paramref name="tensor"/>; same shape.</summary>
    Tensor Apply(Tensor tensor);

    /// <summary>Whether <paramref name="other"/> makes the same of every tensor, now and later, so that one result serves both.</summary>
    bool IsLike(ITensorQuantizer other) => false;
}

/// <summary>A linear layer, <c>y = x W^T + b</c>, whose weight and input can be quantized without replacing the module.</summary>
public sealed class QuantizableLinear : nn.Module<Tensor, Tensor>, IQuantizableLayer
{
    // TorchSharp registers parameters under the names of their fields.
    private readonly Parameter weight;
    private readonly Parameter? bias;

    /// <summary>Creates a layer with an uninitialised weight of shape [<paramref name="outFeatures"/>, <paramref name="inFeatures"/>].</summary>
    public QuantizableLinear(int inFeatures, int outFeatures, bool bias)
        : this(nn.Parameter(empty(outFeatures, inFeatures)), bias ? nn.Parameter(zeros(outFeatures)) : null)
    {
    }

    /// <summary>Creates a layer around parameters, which it keeps and does not copy.</summary>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    public QuantizableLinear(Parameter weight, Parameter? bias)
        : base(nameof(QuantizableLinear))
    {
        ArgumentNullException.ThrowIfNull(weight);
        InFeatures = (int)weight.shape[1];
        OutFeatures = (int)weight.shape[0];
        this.weight = weight;
        this.bias = bias;
        RegisterComponents();
    }

    /// <summary>Columns of the weight.</summary>
    public int InFeatures { get; }

    /// <summary>Rows of the weight.</summary>
    public int OutFeatures { get; }

    /// <inheritdoc/>
    public Parameter Weight => weight;

    /// <summary>The bias, [out]; null when the layer has none.</summary>
    public Parameter? Bias => bias;

    /// <inheritdoc/>
    public ITensorQuantizer? WeightQuantizer { get; set; }

    /// <summary>Turns the input first of all, before <see cref="InputQuantizer"/>; the columns of the weight are turned alike. Null leaves it as it
    /// is.</summary>
    public HadamardTransform? InputTransform { get; set; }

    /// <inheritdoc/>
    public ITensorQuantizer? InputQuantizer { get; set; }

    /// <summary>The arithmetic of the product; parameters, inputs and outputs are float32 in any case.</summary>
    public TrainingPrecision Precision { get; set; }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => Product(Quantized(input));

    /// <summary>What layers side by side make of one input. Where all of them quantize it alike, it is quantized and kept for the gradient once.</summary>
    /// <param name="input">[..., columns].</param>
    /// <param name="layers">At least one.</param>
    /// <returns>A tensor per layer, in their order.</returns>
    internal static Tensor[] Project(Tensor input, params QuantizableLinear[] layers)
    {
        if (layers[0].InputQuantizer is not { } first
            || !layers.All(layer => layer is { InputTransform: null, InputQuantizer: { } other } && first.IsLike(other)))
        {
            return Array.ConvertAll(layers, layer => layer.forward(input));
        }

        var x = first.Apply(input);
        return Array.ConvertAll(layers, layer => layer.Product(x));
    }

    private Tensor Quantized(Tensor input)
    {
        var x = InputTransform?.Apply(input) ?? input;
        return InputQuantizer?.Apply(x) ?? x;
    }

    private Tensor Product(Tensor x)
    {
        if (WeightQuantizer is ITransientWeight transient)
        {
            return TransientWeight.Linear(x, transient, weight, bias);
        }

        var w = WeightQuantizer?.Apply(weight) ?? weight;
        return Precision == TrainingPrecision.Float32 ? F.linear(x, w, bias) : F.linear(x.to(bfloat16), w.to(bfloat16), bias?.to(bfloat16)).to(float32);
    }
}
