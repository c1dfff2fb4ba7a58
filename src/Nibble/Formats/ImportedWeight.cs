using Nibble.Numerics;

namespace Nibble.Formats;

/// <summary>Creates matrices from the values in another tool's file.</summary>
internal static class ImportedWeight
{
    /// <summary>Creates a matrix.</summary>
    /// <remarks>
    /// Other tools store scales that are negative (symmetric AutoRound) or zero (below the range of binary16). A negative scale becomes positive, and its
    /// codes are mirrored within their range. A scale of zero makes all values zero, which zero codes represent with any scale. The values do not change.
    /// </remarks>
    /// <param name="rows">Outputs.</param>
    /// <param name="columns">Inputs.</param>
    /// <param name="bits">The bit width of codes.</param>
    /// <param name="granularity">Which codes share a scale.</param>
    /// <param name="codes">Row-major codes from -2^(bits-1) up. The method may change them.</param>
    /// <param name="scales">One scale per group. The method may change them.</param>
    /// <param name="zeroPoints">One zero point per group, or empty if all are 0. The method may change them.</param>
    /// <param name="groupIndex">The group of each column; null if groups hold adjacent columns.</param>
    /// <param name="where">The layer, for messages.</param>
    /// <exception cref="NibbleException">A scale is not finite.</exception>
    public static QuantizedTensor Create(int rows, int columns, int bits, Granularity granularity, sbyte[] codes,
        float[] scales, sbyte[] zeroPoints, int[]? groupIndex, string where)
    {
        var fault = Array.FindIndex(scales, scale => !float.IsFinite(scale));
        if (fault >= 0)
        {
            throw new NibbleException($"{where}: the scale of output {fault / Math.Max(1, scales.Length / rows)} is {scales[fault]}, expected finite "
                + "numbers; the file is damaged, or the model was ruined when it was quantized.");
        }

        if (zeroPoints.Length == 0 && Array.Exists(scales, scale => scale < 0))
        {
            zeroPoints = new sbyte[scales.Length];
        }

        var precision = Array.TrueForAll(scales, scale => scale == 0 || (float)(Half)scale == scale) ? ScalePrecision.Float16 : ScalePrecision.Float32;
        var scheme = new QuantizationScheme(bits, symmetric: zeroPoints.Length == 0, granularity) { ScalePrecision = precision };
        Straighten(rows, columns, scheme, codes, scales, zeroPoints, groupIndex);
        return new QuantizedTensor(rows, columns, scheme, codes, scales, zeroPoints, groupIndex);
    }

    private static void Straighten(int rows, int columns, QuantizationScheme scheme, sbyte[] codes, float[] scales, sbyte[] zeroPoints, int[]? groupIndex)
    {
        var least = QuantizationParameters.MinScale(scheme.ScalePrecision);
        if (Array.TrueForAll(scales, scale => scale >= least))
        {
            return;
        }

        var length = scheme.Granularity.GroupLength(columns);
        var groups = scheme.Granularity is PerTensor ? 1 : scales.Length / rows;
        for (var i = 0; i < codes.Length; i++)
        {
            var column = i % columns;
            var group = scheme.Granularity is PerTensor ? 0 : (i / columns * groups) + (groupIndex?[column] ?? column / length);
            if (MathF.Abs(scales[group]) < least)
            {
                codes[i] = zeroPoints.Length == 0 ? (sbyte)0 : zeroPoints[group];
            }
            else if (scales[group] < 0)
            {
                // The range is -n to n - 1, so the mirror image is the one's complement.
                codes[i] = (sbyte)~codes[i];
            }
        }

        for (var group = 0; group < scales.Length; group++)
        {
            if (scales[group] < 0 && -scales[group] >= least)
            {
                zeroPoints[group] = (sbyte)~zeroPoints[group];
            }

            scales[group] = Math.Max(MathF.Abs(scales[group]), least);
        }
    }
}
