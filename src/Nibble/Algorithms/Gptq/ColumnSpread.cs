namespace Nibble.Algorithms;

/// <summary>Propagates changes in the columns of a block to the columns after them, many at a time.</summary>
internal unsafe struct ColumnSpread(IGptqKernel kernel, float* tiles, float* changes, float* sums, int start, int end)
{
    private const int Rows = IGptqKernel.Rows;
    private const int TileWidth = PackedFactor.Width;

    /// <summary>Columns whose changes are gathered before they are propagated to the columns after them.</summary>
    private const int SpanLength = 32;

    private readonly int firstTile = start / TileWidth;
    private readonly int endTile = (end + TileWidth - 1) / TileWidth;

    // The first changes not yet propagated to the tiles after this one in the span, and to the tiles after the span.
    private int tileFrom = start;
    private int spanFrom = start;

    /// <summary>The sums of a column.</summary>
    public readonly float* SumsOf(int position) => sums + ((long)(position - (firstTile * TileWidth)) * Rows);

    /// <summary>Call this when the changes of a column are known.</summary>
    public void Done(int position)
    {
        var next = position + 1;
        if (next == end)
        {
            return;
        }

        if (next % TileWidth != 0)
        {
            Accumulate(position / TileWidth, (next / TileWidth) + 1, position, next);
        }
        else if (next % SpanLength != 0)
        {
            Accumulate(next / TileWidth, SpanEnd(next), tileFrom, next);
            tileFrom = next;
        }
        else
        {
            Accumulate(next / TileWidth, endTile, spanFrom, next);
            tileFrom = spanFrom = next;
        }
    }

    /// <summary>Completes the sums of all columns from a position on.</summary>
    public void Catch(int position)
    {
        Accumulate((position + TileWidth - 1) / TileWidth, SpanEnd(position), tileFrom, position);
        Accumulate(SpanEnd(position), endTile, spanFrom, position);
        tileFrom = spanFrom = position;
    }

    private readonly int SpanEnd(int position) => Math.Min((position + SpanLength - 1) / SpanLength * (SpanLength / TileWidth), endTile);

    private readonly void Accumulate(int first, int last, int from, int to)
    {
        if (first < last && from < to)
        {
            kernel.Accumulate(tiles, first, last, from, to, changes, SumsOf(first * TileWidth));
        }
    }
}
