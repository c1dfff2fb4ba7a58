namespace Nibble.Planning;

/// <summary>How to get to a width.</summary>
public enum Road
{
    /// <summary>Quantize after training.</summary>
    Ptq,

    /// <summary>Train with quantization.</summary>
    Qat,

    /// <summary>Both: some layers or sides are solved, the rest is trained.</summary>
    Hybrid,

    /// <summary>Not with what was measured: every variant loses too much.</summary>
    Neither,
}
