using System.Runtime.InteropServices;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>A weight with fixed codes and learned scales: E2E-QP (EfficientQAT, Chen et al. 2024, section 3.3).</summary>
/// <remarks>
/// The value is <c>scale * (code - zeroPoint)</c>, so the scale's gradient is exact: the sum over its group of <c>gradient * (code - zeroPoint)</c>. Each code
/// takes one byte, and a float weight exists only during a product. The scale is learned as <c>start * exp(p)</c> and used as it will be stored.
/// </remarks>
internal sealed class FrozenCodes : WeightFakeQuantizer, ITransientWeight
{
    private readonly int[]? groupIndex;
    private readonly sbyte[] zeroPoints;
    private readonly Tensor codes;
    private readonly Tensor shift;
    private readonly Tensor start;
    private readonly Tensor? groupOf;
    private readonly Parameter logarithm;

    public FrozenCodes(QuantizedTensor weight)
        : base(weight.Scheme, weight.Rows, weight.Columns)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var parameters = Scheme.Granularity is PerTensor ? 1 : Rows;
        groupIndex = weight.GroupIndex;
        zeroPoints = weight.ZeroPoints;
        codes = tensor(weight.Codes, Rows, Columns).DetachFromDisposeScope();
        start = tensor(weight.Scales, parameters, weight.GroupsPerRow).DetachFromDisposeScope();
        shift = (Scheme.Symmetric
            ? TensorArithmetic.Filled(1, 1, Scheme.Shift)
            : -tensor(Array.ConvertAll(zeroPoints, point => (float)point), parameters, weight.GroupsPerRow)).DetachFromDisposeScope();
        groupOf = weight.GroupIndex is null && weight.GroupsPerRow * weight.GroupLength == Columns
            ? null
            : tensor([.. Enumerable.Range(0, Columns).Select(weight.GroupOf)], dtype: int64).DetachFromDisposeScope();
        logarithm = (Parameter)TorchSharp.torch.nn.Parameter(zeros_like(start)).DetachFromDisposeScope();
    }

    public override IEnumerable<Parameter> Parameters => [logarithm];

    public IReadOnlyList<Tensor> Sources => [logarithm];

    /// <exception cref="NotSupportedException">Always, because there are no float weights to restart from.</exception>
    public override void Restart(Tensor weight, QuantizedTensor? solution) => throw new NotSupportedException("Frozen codes cannot be restarted.");

    public override Tensor Apply(Tensor tensor)
    {
        var scale = Scale();
        var steps = codes.to(float32);
        if (groupOf is not null)
        {
            var scattered = Scheme.Symmetric ? steps.Plus(shift) : steps.Plus(shift.index_select(1, groupOf));
            return (scattered * scale.index_select(1, groupOf)).view(tensor.shape);
        }

        var grouped = steps.view(Rows, start.shape[1], -1).AddInPlace(shift.unsqueeze(2));
        return (grouped * scale.unsqueeze(2)).view(tensor.shape);
    }

    public override QuantizedTensor Convert(Tensor weight)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        return new QuantizedTensor(
            Rows, Columns, Scheme, MemoryMarshal.Cast<byte, sbyte>(codes.bytes).ToArray(), Conversion.ValuesOf(Scale()), zeroPoints, groupIndex);
    }

    public override Tensor Clip(Tensor weight) => Apply(weight).detach();

    public override float[] Save() => [];

    public override void Load(float[] values)
    {
        // The codes never change.
    }

    private Tensor Scale()
    {
        var scale = start * logarithm.exp();
        return FakeQuantization.StraightThrough(scale, FakeQuantization.RoundScale(scale, Scheme.ScalePrecision));
    }
}
