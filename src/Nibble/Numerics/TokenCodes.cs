namespace Nibble.Numerics;

/// <summary>The codes of a layer's input: <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <param name="Codes">One row of codes per token, row by row.</param>
/// <param name="Scales">One scale per token, or one for all tokens.</param>
/// <param name="ZeroPoints">One zero point per token, or one for all tokens.</param>
internal sealed record TokenCodes(sbyte[] Codes, float[] Scales, float[] ZeroPoints);
