using Nibble.Torch.Calibration;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Learned;

/// <summary>
/// The error of a unit's output. The unit reads the output of the quantized units before it, and its target is the float unit's output on the input of the
/// float model (BRECQ's block reconstruction, Li et al. 2021).
/// </summary>
/// <param name="unit">The unit.</param>
/// <param name="inputs">Its inputs after quantized units.</param>
/// <param name="original">The float unit.</param>
/// <param name="floats">Its inputs in the float model.</param>
/// <param name="device">The device of tensors.</param>
/// <param name="cancellation">Cancels between batches.</param>
internal sealed class BlockReconstruction(
    QuantizationUnit unit, ActivationStream inputs, QuantizationUnit original, ActivationStream floats, Device device, CancellationToken cancellation)
{
    /// <summary>The number of pieces.</summary>
    public int Windows => inputs.Count;

    /// <summary>The mean squared error over all windows.</summary>
    public double Error()
    {
        var (sum, count) = (0d, 0L);
        inputs.ForEach(
            device,
            (first, x) =>
            {
                var difference = Difference(x, floats.Read(first, (int)x.Hidden.shape[0], device));
                sum += difference.Square().sum(float64).item<double>();
                count += difference.NumberOfElements;
            },
            cancellation);
        return sum / count;
    }

    /// <summary>The mean squared error over some windows, with gradients for the unit.</summary>
    public Tensor Error(int[] windows) => Difference(inputs.Read(windows, device), floats.Read(windows, device)).Square().mean();

    /// <summary>The difference between the outputs of the unit and of the float unit at real tokens.</summary>
    private Tensor Difference(BlockInput input, BlockInput floatInput)
    {
        using var pass = TokenMask.Begin(input.Mask);
        return TokenMask.Select(unit.Forward(input) - Target(floatInput));
    }

    private Tensor Target(BlockInput input)
    {
        using var guard = no_grad();
        return original.Forward(input);
    }
}

/// <summary>Windows in random order. Each occurs once before any is repeated.</summary>
internal sealed class WindowOrder(int count, Random random)
{
    private readonly int[] order = [.. Enumerable.Range(0, count)];
    private int next = int.MaxValue;

    public int[] Next(int windows)
    {
        if (next > order.Length - windows)
        {
            random.Shuffle(order);
            next = 0;
        }

        next += windows;
        return order[(next - windows)..next];
    }
}
