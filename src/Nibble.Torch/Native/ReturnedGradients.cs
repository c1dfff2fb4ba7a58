using static TorchSharp.torch;

namespace Nibble.Torch.Native;

/// <summary>Keeps the gradients that a custom backward pass returns alive until libtorch has taken them over, and no longer.</summary>
/// <remarks>
/// TorchSharp passes raw pointers to libtorch after the last managed reference is gone. A garbage collection at that moment would free the gradients. Dispose
/// scopes would keep every gradient until the end of the step. When the next backward pass starts on the same thread, libtorch has its own references.
/// </remarks>
internal static class ReturnedGradients
{
    [ThreadStatic]
    private static List<Tensor>? last;

    public static List<Tensor> Hold(params IEnumerable<Tensor?> gradients)
    {
        List<Tensor?> returned = [.. gradients];
        last?.ForEach(gradient => gradient.Dispose());
        last = [.. returned.OfType<Tensor>()];
        return returned!;
    }
}
