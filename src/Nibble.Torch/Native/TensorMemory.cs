using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace Nibble.Torch.Native;

/// <summary>The memory of tensors as spans of numbers.</summary>
/// <remarks>TorchSharp shows it as bytes, of which a span holds no more than 2 GiB, and tensors of large models have more.</remarks>
internal static class TensorMemory
{
    private const int MostOfBytes = int.MaxValue / sizeof(float);

    /// <summary>A tensor's values where they are.</summary>
    /// <param name="tensor">float32, on the processor and contiguous; it must be held for as long as the span is used.</param>
    /// <exception cref="NibbleException">It has more values than a span can hold.</exception>
    public static unsafe Span<float> Floats(Tensor tensor)
    {
        if (tensor.dtype != ScalarType.Float32 || tensor.device_type != TorchSharp.DeviceType.CPU || !tensor.is_contiguous())
        {
            throw new ArgumentException($"The tensor is {tensor.dtype} on {tensor.device}, expected contiguous float32 on the processor.", nameof(tensor));
        }

        var count = tensor.numel();
        if (count <= MostOfBytes)
        {
            return MemoryMarshal.Cast<byte, float>(tensor.bytes);
        }

        return count <= int.MaxValue
            ? new Span<float>((void*)Start(tensor), (int)count)
            : throw new NibbleException(
                $"a tensor of [{string.Join(", ", tensor.shape)}] has {count} values, and at most {int.MaxValue} of one can be worked on");
    }

    /// <summary>Where a contiguous tensor on the processor begins; 0 for one without values.</summary>
    public static unsafe nint Start(Tensor tensor)
    {
        if (tensor.numel() == 0)
        {
            return 0;
        }

        using var guard = no_grad();
        using var flat = tensor.view(-1);
        using var first = flat.narrow(0, 0, 1);
        var start = (nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(first.bytes));
        GC.KeepAlive(tensor);
        return start;
    }
}
