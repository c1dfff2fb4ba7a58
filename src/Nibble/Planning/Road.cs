namespace Nibble.Planning;

/// <summary>How to get to a width.</summary>
internal enum Road
{
    /// <summary>Quantize after training.</summary>
    Ptq,

    /// <summary>Train with quantization.</summary>
    Qat,

    /// <summary>Quantize some sides of layers after training, and train the others.</summary>
    Hybrid,

    /// <summary>Not with what was measured: every variant loses too much.</summary>
    Neither,
}
