using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace Nibble.Torch.Native;

/// <summary>The memory of tensors as spans of floats.</summary>
/// <remarks>TorchSharp exposes it as a span of bytes, which can hold at most 2 GiB. Tensors of large models can be larger.</remarks>
internal static class TensorMemory
{
    private const int MostOfBytes = int.MaxValue / sizeof(float);

    /// <summary>A tensor's values in place, without a copy.</summary>
    /// <param name="tensor">A contiguous float32 tensor on the CPU. It must be kept alive as long as the span is used.</param>
    /// <exception cref="NibbleException">The tensor has more values than a span can hold.</exception>
    public static unsafe Span<float> Floats(Tensor tensor)
    {
        if (tensor.dtype != ScalarType.Float32 || tensor.device_type != TorchSharp.DeviceType.CPU || !tensor.is_contiguous())
        {
            throw new ArgumentException($"The tensor is {tensor.dtype} on {tensor.device}, expected contiguous float32 on the CPU.", nameof(tensor));
        }

        var count = tensor.numel();
        if (count <= MostOfBytes)
        {
            return MemoryMarshal.Cast<byte, float>(tensor.bytes);
        }

        return count <= int.MaxValue
            ? new Span<float>((void*)Start(tensor), (int)count)
            : throw new NibbleException(
                $"a tensor of [{string.Join(", ", tensor.shape)}] has {count} values, but at most {int.MaxValue} per tensor are supported");
    }

    /// <summary>The address of a contiguous tensor on the CPU. 0 for a tensor without values.</summary>
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
