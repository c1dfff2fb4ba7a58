using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>One weight, laid out for the kernels.</summary>
/// <remarks>
/// Rows are independent, so each thread takes some panels of rows through all columns. Columns are processed in blocks. First the errors of all
/// columns before the block are summed, one stretch of columns at a time for all panels, which keeps that part of R in the cache. Then the block's
/// columns are quantized one by one. A block begins where a group begins, so that the group's weights can be corrected before its scale is chosen.
/// </remarks>
internal sealed unsafe class GptqProblem : IDisposable
{
    private const int Rows = IGptqKernel.Rows;
    private const int TileWidth = PackedFactor.Width;

    /// <summary>Columns of a block, unless groups are larger.</summary>
    private const int BlockLength = 128;

    /// <summary>Columns whose errors are summed at a time. A panel of them leaves a quarter of the L1 cache to R.</summary>
    private const int StretchLength = 256;

    /// <summary>Panels that a thread works on at a time.</summary>
    private const int MostPanels = 6;

    private readonly IGptqKernel kernel = GptqKernels.Active;
    private readonly float* weights;
    private readonly QuantizedTensor result;
    private readonly int[]? order;
    private readonly PackedFactor factor;
    private readonly bool moving;
    private readonly WeightRange range;
    private readonly float[] importance;
    private readonly int blockLength;
    private readonly int[] groupOfPosition;

    /// <param name="weights">The weights, pinned, with dead columns set to zero.</param>
    /// <param name="result">Receives the codes, and the scales and zero points of moving groups. Holds all others.</param>
    /// <param name="factor">The factored Hessian of the layer's inputs.</param>
    /// <param name="moving">Whether scales are chosen when a group is reached, in the order of quantization.</param>
    /// <param name="range">How the scales of moving groups are chosen.</param>
    /// <param name="importance">The weight of each column's squared error, in the weight's own column order; may be empty.</param>
    /// <param name="parallel">The number of threads to use.</param>
    public GptqProblem(float* weights, QuantizedTensor result, HessianFactor factor, bool moving, WeightRange range, ReadOnlyMemory<float> importance,
        ParallelOptions parallel)
    {
        this.weights = weights;
        this.result = result;
        this.moving = moving;
        this.range = range;
        order = factor.Order?.ToArray();
        this.importance = importance.IsEmpty ? [] : [.. Enumerable.Range(0, result.Columns).Select(position => importance.Span[ColumnOf(position)])];
        groupOfPosition = [.. Enumerable.Range(0, result.Columns).Select(position => result.GroupOf(ColumnOf(position)))];
        var length = result.GroupLength;
        blockLength = !moving ? BlockLength : length >= BlockLength ? length : BlockLength / length * length;
        this.factor = new PackedFactor(factor, parallel);
    }

    private int Columns => result.Columns;

    private int ColumnOf(int position) => order is null ? position : order[position];

    public void Dispose() => factor.Dispose();

    /// <summary>Quantizes all rows.</summary>
    /// <returns>The loss.</returns>
    public double Solve(ParallelOptions parallel)
    {
        var panels = (result.Rows + Rows - 1) / Rows;
        var threads = Math.Max(parallel.MaxDegreeOfParallelism, 1);

        // The same number of chunks for each thread, of nearly equal size, so that all threads finish at about the same time.
        var chunks = (int)Math.Min(panels, ((panels + MostPanels - 1L) / MostPanels + threads - 1) / threads * threads);
        var losses = new double[panels * Rows];
        try
        {
            Parallel.For(
                0,
                chunks,
                parallel,
                () => new Workspace(this),
                (chunk, _, workspace) =>
                {
                    workspace.Solve((int)((long)panels * chunk / chunks), (int)((long)panels * (chunk + 1) / chunks), losses);
                    return workspace;
                },
                workspace => workspace.Dispose());
        }
        catch (AggregateException exception) when (exception.InnerExceptions.OfType<NibbleException>().FirstOrDefault() is { } first)
        {
            throw new NibbleException(first.Message, exception);
        }

        var loss = 0d;
        for (var row = 0; row < result.Rows; row++)
        {
            loss += losses[row];
        }

        return double.IsFinite(loss)
            ? loss / 2
            : throw new NibbleException(
                $"The errors of the weight of {result.Rows} x {Columns} grow without bound: its Hessian is too close to singular; use more dampening or "
                + $"other calibration data.");
    }

    /// <summary>The working memory of one thread.</summary>
    private sealed class Workspace : IDisposable
    {
        private readonly GptqProblem problem;
        private readonly QuantizedTensor result;
        private readonly nuint panelChanges;
        private readonly nuint panelSums;

        // Panels of all columns: first the weights, then the changes from quantization.
        private readonly float* changes;

        // Panels of a block's columns: the sums, and the sums of the group whose weights are being corrected.
        private readonly float* sums;
        private readonly float* groupSums;
        private readonly float* groupChanges;
        private readonly float* groupWeights;
        private readonly sbyte* codes;
        private readonly float* scales;
        private readonly int* zeroPoints;
        private readonly float* losses;
        private readonly float[] rowWeights;

        public Workspace(GptqProblem problem)
        {
            this.problem = problem;
            result = problem.result;
            var columns = (nuint)(result.Columns + TileWidth);
            var block = (nuint)(problem.blockLength + (2 * TileWidth));
            panelChanges = columns * Rows;
            panelSums = block * Rows;
            changes = Allocate(MostPanels * panelChanges);
            sums = Allocate(MostPanels * panelSums);
            groupSums = Allocate(problem.moving ? panelSums : 0);
            groupChanges = Allocate(problem.moving ? panelSums : 0);
            groupWeights = Allocate(problem.moving ? panelSums : 0);
            codes = (sbyte*)NativeMemory.AlignedAlloc(columns * Rows * MostPanels, 64);
            scales = Allocate((nuint)result.GroupsPerRow * Rows * MostPanels);
            zeroPoints = (int*)Allocate((nuint)result.GroupsPerRow * Rows * MostPanels);
            losses = Allocate(Rows);
            rowWeights = new float[problem.moving ? result.GroupLength : 0];
        }

        public void Dispose()
        {
            foreach (var memory in new nint[] { (nint)changes, (nint)sums, (nint)groupSums, (nint)groupChanges, (nint)groupWeights, (nint)codes, (nint)scales,
                (nint)zeroPoints, (nint)losses })
            {
                NativeMemory.AlignedFree((void*)memory);
            }
        }

        /// <summary>Quantizes the rows of some panels.</summary>
        public void Solve(int firstPanel, int endPanel, double[] rowLosses)
        {
            var count = endPanel - firstPanel;
            for (var i = 0; i < count; i++)
            {
                Load(new Panel(this, i, firstPanel + i));
            }

            for (var start = 0; start < result.Columns; start += problem.blockLength)
            {
                var end = Math.Min(start + problem.blockLength, result.Columns);
                var (firstTile, endTile) = (start / TileWidth, (end + TileWidth - 1) / TileWidth);
                for (var i = 0; i < count; i++)
                {
                    new Span<float>(new Panel(this, i, firstPanel + i).Sums, (endTile - firstTile) * TileWidth * Rows).Clear();
                }

                for (var from = 0; from < start; from += StretchLength)
                {
                    for (var i = 0; i < count; i++)
                    {
                        var panel = new Panel(this, i, firstPanel + i);
                        problem.kernel.Accumulate(
                            problem.factor.Tiles, firstTile, endTile, from, Math.Min(from + StretchLength, start), panel.Changes, panel.Sums);
                    }
                }

                for (var i = 0; i < count; i++)
                {
                    SolveBlock(new Panel(this, i, firstPanel + i), start, end, rowLosses);
                }
            }

            for (var i = 0; i < count; i++)
            {
                Store(new Panel(this, i, firstPanel + i));
            }
        }

        private void SolveBlock(Panel panel, int start, int end, double[] rowLosses)
        {
            new Span<float>(losses, Rows).Clear();
            var spread = new ColumnSpread(problem.kernel, problem.factor.Tiles, panel.Changes, panel.Sums, start, end);
            for (var position = start; position < end; position++)
            {
                var group = problem.groupOfPosition[position];
                if (problem.moving && position % result.GroupLength == 0)
                {
                    spread.Catch(position);
                    ChooseScales(panel, group, position, Math.Min(position + result.GroupLength, end), start);
                }

                var column = new GptqColumn(
                    panel.Changes + ((long)position * Rows),
                    spread.SumsOf(position),
                    problem.factor.Diagonal[position],
                    problem.factor.InverseDiagonal[position],
                    panel.Scales + (group * Rows),
                    panel.ZeroPoints + (group * Rows),
                    panel.Codes + ((long)position * Rows),
                    losses);
                problem.kernel.Quantize(column, result.Scheme.Codes);
                spread.Done(position);
            }

            for (var row = 0; row < Rows; row++)
            {
                rowLosses[panel.FirstRow + row] += losses[row];
            }
        }

        /// <summary>Chooses the scales of a group whose first column is next.</summary>
        private void ChooseScales(Panel panel, int group, int start, int end, int blockStart)
        {
            var corrected = panel.Changes + ((long)start * Rows);
            if (start > 0)
            {
                Correct(panel, start, end, blockStart);
                corrected = groupWeights;
            }

            // IEEE minimum and maximum propagate NaN.
            var (min0, min1, min2) = (Vector256<float>.Zero, Vector256<float>.Zero, Vector256<float>.Zero);
            var (max0, max1, max2) = (min0, min1, min2);
            for (var column = 0; column < end - start; column++)
            {
                var values = corrected + (column * Rows);
                (min0, max0) = (Vector256.Min(min0, Vector256.Load(values)), Vector256.Max(max0, Vector256.Load(values)));
                (min1, max1) = (Vector256.Min(min1, Vector256.Load(values + 8)), Vector256.Max(max1, Vector256.Load(values + 8)));
                (min2, max2) = (Vector256.Min(min2, Vector256.Load(values + 16)), Vector256.Max(max2, Vector256.Load(values + 16)));
            }

            float* lowest = stackalloc float[Rows];
            float* highest = stackalloc float[Rows];
            min0.Store(lowest);
            min1.Store(lowest + 8);
            min2.Store(lowest + 16);
            max0.Store(highest);
            max1.Store(highest + 8);
            max2.Store(highest + 16);
            for (var row = 0; row < Rows; row++)
            {
                var full = new ValueRange(lowest[row], highest[row]);
                if (!float.IsFinite(full.Min) || !float.IsFinite(full.Max))
                {
                    throw new NibbleException(
                        $"Row {panel.FirstRow + row}: the errors of the columns before group {group} grow without bound: the Hessian is too close to "
                        + $"singular; use more dampening or other calibration data.");
                }

                var parameters = Choose(panel, corrected, row, full, start, end);
                panel.Scales[(group * Rows) + row] = parameters.Scale;
                panel.ZeroPoints[(group * Rows) + row] = parameters.ZeroPoint;
            }
        }

        private QuantizationParameters Choose(Panel panel, float* corrected, int row, ValueRange full, int start, int end)
        {
            try
            {
                if (problem.range == WeightRange.MinMax)
                {
                    return QuantizationParameters.FromRange(full, result.Scheme);
                }

                var values = rowWeights.AsSpan(0, end - start);
                for (var column = 0; column < values.Length; column++)
                {
                    values[column] = corrected[(column * Rows) + row];
                }

                return ScaleSearch.Choose(
                    values, problem.importance.AsSpan(problem.importance.Length == 0 ? 0 : start, problem.importance.Length == 0 ? 0 : values.Length), full,
                    result.Scheme, problem.range);
            }
            catch (OverflowException exception)
            {
                throw new NibbleException($"Row {panel.FirstRow + row} has corrected weights from {full.Min} to {full.Max}. {exception.Message}", exception);
            }
        }

        /// <summary>Corrects the weights of a group for all errors before it: each column in turn, as if it could take any value.</summary>
        private void Correct(Panel panel, int start, int end, int blockStart)
        {
            var (firstTile, endTile) = (start / TileWidth, (end + TileWidth - 1) / TileWidth);
            var known = panel.Sums + ((long)(firstTile - (blockStart / TileWidth)) * TileWidth * Rows);
            new Span<float>(known, (endTile - firstTile) * TileWidth * Rows).CopyTo(new Span<float>(groupSums, (endTile - firstTile) * TileWidth * Rows));
            var spread = new ColumnSpread(problem.kernel, problem.factor.Tiles, groupChanges - ((long)start * Rows), groupSums, start, end);
            for (var position = start; position < end; position++)
            {
                var inverse = Vector256.Create(problem.factor.InverseDiagonal[position]);
                var original = panel.Changes + ((long)position * Rows);
                var sum = spread.SumsOf(position);
                var offset = (position - start) * Rows;
                for (var row = 0; row < Rows; row += Vector256<float>.Count)
                {
                    var value = Vector256.Load(sum + row);
                    Vector256.FusedMultiplyAdd(value, inverse, Vector256.Load(original + row)).Store(groupWeights + offset + row);
                    (value * -inverse).Store(groupChanges + offset + row);
                }

                spread.Done(position);
            }
        }

        private void Load(Panel panel)
        {
            var columns = result.Columns;
            for (var start = 0; start < columns; start += BlockLength)
            {
                var end = Math.Min(start + BlockLength, columns);
                for (var row = 0; row < Rows; row++)
                {
                    var target = panel.Changes + row;
                    var source = problem.weights + (((long)panel.FirstRow + row) * columns);
                    var exists = panel.FirstRow + row < result.Rows;
                    for (var position = start; position < end; position++)
                    {
                        target[(long)position * Rows] = exists ? source[problem.ColumnOf(position)] : 0;
                    }
                }
            }

            for (var row = 0; row < Rows && !problem.moving; row++)
            {
                var exists = panel.FirstRow + row < result.Rows;
                for (var group = 0; group < result.GroupsPerRow; group++)
                {
                    var parameters = exists ? result.Parameters(panel.FirstRow + row, group) : new QuantizationParameters(1, 0);
                    panel.Scales[(group * Rows) + row] = parameters.Scale;
                    panel.ZeroPoints[(group * Rows) + row] = parameters.ZeroPoint;
                }
            }
        }

        private void Store(Panel panel)
        {
            var columns = result.Columns;
            var rows = Math.Min(Rows, result.Rows - panel.FirstRow);
            for (var start = 0; start < columns; start += BlockLength)
            {
                var end = Math.Min(start + BlockLength, columns);
                for (var row = 0; row < rows; row++)
                {
                    var source = panel.Codes + row;
                    var target = result.Codes.AsSpan((panel.FirstRow + row) * columns, columns);
                    for (var position = start; position < end; position++)
                    {
                        target[problem.ColumnOf(position)] = source[(long)position * Rows];
                    }
                }
            }

            for (var row = 0; row < rows && problem.moving; row++)
            {
                for (var group = 0; group < result.GroupsPerRow; group++)
                {
                    var target = ((panel.FirstRow + row) * result.GroupsPerRow) + group;
                    result.Scales[target] = panel.Scales[(group * Rows) + row];
                    if (!result.Scheme.Symmetric)
                    {
                        result.ZeroPoints[target] = (sbyte)panel.ZeroPoints[(group * Rows) + row];
                    }
                }
            }
        }

        private static float* Allocate(nuint count) => (float*)NativeMemory.AlignedAlloc(Math.Max(count, 1) * sizeof(float), 64);

        /// <summary>The memory of one panel. <paramref name="number"/> is its index among all panels of the weight.</summary>
        private readonly struct Panel(Workspace workspace, int slot, int number)
        {
            public int FirstRow => number * Rows;

            public float* Changes => workspace.changes + ((nuint)slot * workspace.panelChanges);

            public sbyte* Codes => workspace.codes + ((nuint)slot * workspace.panelChanges);

            public float* Sums => workspace.sums + ((nuint)slot * workspace.panelSums);

            public float* Scales => workspace.scales + ((long)slot * workspace.result.GroupsPerRow * Rows);

            public int* ZeroPoints => workspace.zeroPoints + ((long)slot * workspace.result.GroupsPerRow * Rows);
        }
    }
}
