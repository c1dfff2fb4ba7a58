namespace Nibble.Numerics;

/// <summary>The codes that stand for a layer's input: <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <param name="Codes">A row of codes for each token, row by row.</param>
/// <param name="Scales">A scale for each token, or one for all.</param>
/// <param name="ZeroPoints">A zero point for each token, or one for all.</param>
internal sealed record TokenCodes(sbyte[] Codes, float[] Scales, float[] ZeroPoints);
