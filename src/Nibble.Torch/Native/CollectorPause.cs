using System.Runtime;

namespace Nibble.Torch.Native;

/// <summary>Keeps the garbage collector from running while libtorch works on what managed objects own.</summary>
/// <remarks>
/// TorchSharp turns a number in <c>tensor * 2</c> into a <c>Scalar</c> with a finalizer that nothing holds once its handle is read. A
/// collection at that moment frees it under libtorch's hands: rare, but it ends the process. Tensors are held by dispose
/// scopes; numbers can only be protected by not collecting during a step. A pause is best effort: where a step allocates
/// more than the budget, or other code collects, it ends early. Training and evaluation here pause by themselves; a loop of your own over a module
/// does well to hold one for each step.
/// </remarks>
public readonly struct CollectorPause : IDisposable
{
    /// <summary>Managed allocations of a training step are a few MB: wrappers, not tensors.</summary>
    private const long Budget = 32 << 20;

    private readonly bool began;

    private CollectorPause(bool began) => this.began = began;

    /// <summary>Begins a pause; does nothing inside another.</summary>
    public static CollectorPause Begin()
    {
        if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
        {
            return default;
        }

        // Between two pauses is the safe moment to collect; without it, what only finalizers release would pile up.
        GC.Collect(1, GCCollectionMode.Forced, blocking: true);
        try
        {
            return new CollectorPause(GC.TryStartNoGCRegion(Budget));
        }
        catch (InvalidOperationException)
        {
            // Another thread began one in between.
            return default;
        }
    }

    /// <summary>Ends the pause, if this one began it.</summary>
    public void Dispose()
    {
        if (!began || GCSettings.LatencyMode != GCLatencyMode.NoGCRegion)
        {
            return;
        }

        try
        {
            GC.EndNoGCRegion();
        }
        catch (InvalidOperationException)
        {
            // A collection has ended it in between.
        }
    }
}
