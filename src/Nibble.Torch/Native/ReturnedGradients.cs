using static TorchSharp.torch;

namespace Nibble.Torch.Native;

/// <summary>Keeps the gradients that a custom backward pass returns until libtorch has taken them over, and no longer.</summary>
/// <remarks>
/// TorchSharp hands libtorch bare pointers to them after the last managed reference is gone, so a collection at that moment would free them. Scopes alone would
/// keep
/// every gradient until the step ends. By the time the next backward pass begins on the same thread, libtorch has its own references.
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
