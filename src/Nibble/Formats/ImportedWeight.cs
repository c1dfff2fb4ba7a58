using Nibble.Numerics;

namespace Nibble.Formats;

/// <summary>Puts a matrix together from what a file of another tool holds.</summary>
internal static class ImportedWeight
{
    /// <summary>Makes a matrix.</summary>
    /// <remarks>
    /// Other tools store scales that are negative (AutoRound's symmetric ones) or zero (where binary16 holds nothing as small). A negative scale and the
    /// codes mirrored within their range are a positive one, and a scale of zero makes all values zero, which the code of zero says of any scale. The
    /// values are the same.
    /// </remarks>
    /// <param name="rows">Outputs.</param>
    /// <param name="columns">Inputs.</param>
    /// <param name="bits">Bits of a code.</param>
    /// <param name="granularity">Which codes share a scale.</param>
    /// <param name="codes">Codes from -2^(bits-1) on, row by row; may be changed.</param>
    /// <param name="scales">One scale a group; may be changed.</param>
    /// <param name="zeroPoints">One zero point a group, or none where all are 0; may be changed.</param>
    /// <param name="groupIndex">The group of each column; null where groups hold neighbouring columns.</param>
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
                // The range is -n to n - 1, whose mirror is one's complement.
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
