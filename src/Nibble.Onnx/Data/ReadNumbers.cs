namespace Nibble.Onnx.Data;

/// <summary>Numbers as a file holds them, before they become the type of an input.</summary>
internal sealed class ReadNumbers
{
    /// <summary>Numbers with fractions.</summary>
    public ReadNumbers(double[] floats) => Floats = floats;

    /// <summary>Integers.</summary>
    public ReadNumbers(long[] integers) => Integers = integers;

    /// <summary>The numbers. Null if they are integers.</summary>
    public double[]? Floats { get; }

    /// <summary>The integers. Null if the numbers have fractions.</summary>
    public long[]? Integers { get; }

    /// <summary>The number of numbers.</summary>
    public int Length => Floats?.Length ?? Integers!.Length;
}
