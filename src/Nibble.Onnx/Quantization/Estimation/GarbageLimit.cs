namespace Nibble.Onnx.Quantization.Estimation;

/// <summary>Keeps garbage small while samples are read, so that the peak of memory does not depend on their number.</summary>
/// <remarks>Each sample is garbage after its run. The collector alone would let it grow to several times what is in use.</remarks>
internal sealed class GarbageLimit
{
    /// <summary>Garbage below this is not worth a collection, which takes a few milliseconds.</summary>
    private const long Least = 8L << 20;

    private const int ShareOfUse = 4;

    private long start = GC.GetTotalAllocatedBytes();
    private long most = Most();

    /// <summary>Collects garbage if much has been allocated since the last time.</summary>
    public void Keep()
    {
        if (GC.GetTotalAllocatedBytes() - start > most)
        {
            GC.Collect();
            (start, most) = (GC.GetTotalAllocatedBytes(), Most());
        }
    }

    private static long Most() => Math.Max(Least, GC.GetTotalMemory(forceFullCollection: false) / ShareOfUse);
}
