using System.Runtime;

namespace Nibble.Torch.Native;

/// <summary>Keeps the garbage collector from running while libtorch uses memory that managed objects own.</summary>
/// <remarks>
/// TorchSharp converts a number in <c>tensor * 2</c> to a <c>Scalar</c> with a finalizer. Nothing references this object once its handle has been read. A
/// garbage collection at that moment frees it while libtorch uses it. This is rare, but the call fails or computes with another number. Dispose scopes keep
/// tensors alive, and Nibble's own arithmetic keeps its numbers alive. Those of TorchSharp's optimizers and of your own module can only be protected by not
/// collecting during a step. A pause is best effort: it ends early if a step allocates more than the budget or if other code triggers a collection. Nibble's
/// training and evaluation use pauses. In your own training loop over a module, hold one for each step.
/// </remarks>
public readonly struct CollectorPause : IDisposable
{
    /// <summary>The managed allocations of a training step are a few MB, because they are wrappers and not tensors.</summary>
    private const long Budget = 32 << 20;

    private readonly bool began;

    private CollectorPause(bool began) => this.began = began;

    /// <summary>Begins a pause. Does nothing inside another pause.</summary>
    public static CollectorPause Begin()
    {
        if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
        {
            return default;
        }

        // Between two pauses it is safe to collect. Otherwise objects that only finalizers release would accumulate.
        GC.Collect(1, GCCollectionMode.Forced, blocking: true);
        try
        {
            return new CollectorPause(GC.TryStartNoGCRegion(Budget));
        }
        catch (InvalidOperationException)
        {
            // Another thread has begun one in the meantime.
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
            // A collection has ended it in the meantime.
        }
    }
}
