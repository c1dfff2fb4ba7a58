namespace Nibble.Torch.Tests.Export.Foreign;

/// <summary>A linear layer as a quantizer sees it, before any tool packs it: <c>value = scale * (code - zero)</c> with codes from 0 on.</summary>
internal sealed record ForeignLayer(string Name, int Rows, int Columns, int Bits, int[] Codes, float[] Scales, int[] Zeros, int[] GroupOf)
{
    public int Groups => Scales.Length / Rows;

    public int Middle => 1 << (Bits - 1);

    /// <summary>Draws a layer.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="rows">Outputs.</param>
    /// <param name="columns">Inputs.</param>
    /// <param name="bits">Bits of a code.</param>
    /// <param name="group">Columns of a group; all where -1.</param>
    /// <param name="symmetric">Whether all zeros are in the middle.</param>
    /// <param name="leastZero">The lowest zero of others.</param>
    /// <param name="scattered">Whether groups hold scattered columns.</param>
    public static ForeignLayer Draw(string name, int rows, int columns, int bits, int group, bool symmetric, int leastZero = 1, bool scattered = false)
    {
        var random = new Random(name.Length + rows);
        var length = group < 0 ? columns : group;
        var groups = (columns + length - 1) / length;
        var order = Enumerable.Range(0, columns).ToArray();
        if (scattered)
        {
            random.Shuffle(order);
        }

        var index = new int[columns];
        for (var i = 0; i < columns; i++)
        {
            index[order[i]] = i / length;
        }

        return new ForeignLayer(
            name, rows, columns, bits,
            [.. Enumerable.Range(0, rows * columns).Select(_ => random.Next(1 << bits))],
            [.. Enumerable.Range(0, rows * groups).Select(_ => (float)(Half)((0.2f + random.NextSingle()) / (1 << bits)))],
            [.. Enumerable.Range(0, rows * groups).Select(_ => symmetric ? 1 << (bits - 1) : random.Next(leastZero, 1 << bits))],
            index);
    }

    /// <summary>What the layer's weight is, row by row.</summary>
    public float[] Values()
    {
        var values = new float[Rows * Columns];
        for (var i = 0; i < values.Length; i++)
        {
            var group = (i / Columns * Groups) + GroupOf[i % Columns];
            values[i] = Scales[group] * (Codes[i] - Zeros[group]);
        }

        return values;
    }
}
