using Nibble.Recipes;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>Processes a tensor before a layer uses it: fake-quantizes it, observes it, or both.</summary>
public interface ITensorQuantizer
{
    /// <summary>The tensor that the layer uses instead of <paramref name="tensor"/>, with the same shape.</summary>
    Tensor Apply(Tensor tensor);

    /// <summary>Whether <paramref name="other"/> always returns the same result for every tensor, so that one result serves both.</summary>
    bool IsLike(ITensorQuantizer other) => false;
}

/// <summary>A linear layer, <c>y = x W^T + b</c>, whose weight and input can be quantized.</summary>
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

    /// <summary>Creates a layer that uses parameters without copying them.</summary>
    /// <param name="weight">The weight, [out, in].</param>
    /// <param name="bias">The bias, [out]. Null for none.</param>
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

    /// <summary>The number of columns of the weight.</summary>
    public int InFeatures { get; }

    /// <summary>The number of rows of the weight.</summary>
    public int OutFeatures { get; }

    /// <inheritdoc/>
    public Parameter Weight => weight;

    /// <summary>The bias, [out]. Null if the layer has none.</summary>
    public Parameter? Bias => bias;

    /// <inheritdoc/>
    public ITensorQuantizer? WeightQuantizer { get; set; }

    /// <summary>
    /// Rotates the input before <see cref="InputQuantizer"/>. The columns of the weight are rotated in the same way. Null leaves the input unchanged.
    /// </summary>
    public HadamardTransform? InputTransform { get; set; }

    /// <inheritdoc/>
    public ITensorQuantizer? InputQuantizer { get; set; }

    /// <summary>The arithmetic of the product. Parameters, inputs and outputs are always float32.</summary>
    public TrainingPrecision Precision { get; set; }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => Product(Quantized(input));

    /// <summary>
    /// The outputs of several layers for one input. If all of them quantize it in the same way, it is quantized and stored for the gradient only once.
    /// </summary>
    /// <param name="input">The input, [..., columns].</param>
    /// <param name="layers">The layers, at least one.</param>
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
