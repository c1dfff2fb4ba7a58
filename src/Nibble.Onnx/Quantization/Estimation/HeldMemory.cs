namespace Nibble.Onnx.Quantization.Estimation;

/// <summary>The memory of the process.</summary>
internal static class HeldMemory
{
    /// <summary>The bytes that the process holds now, without those that it can give back.</summary>
    public static long Now()
    {
        Release();
        return Environment.WorkingSet;
    }

    /// <summary>Gives memory back. The numbers of tensors are large objects, which only a full collection frees.</summary>
    public static void Release() => GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
}
