using Nibble.Numerics.Kernels;

namespace Nibble.Numerics;

/// <summary>Fake quantization for training: one pass over the values forward and one backward, for every granularity.</summary>
/// <remarks>
/// <para>Values are a matrix, row by row, and are read in place, so a shorter last group needs no padding. Unlike <see cref="Quantizer"/>, which turns NaN into
/// zero, these methods keep NaN, so that training notices it.</para>
/// <para>Several threads work on the rows. No result depends on their number or on the machine. Gradients of scales and zero points are summed
/// in binary64 in one fixed order, per tensor in chunks of 16384 values.</para>
/// </remarks>
internal static unsafe class FakeQuantizer
{
    private const int Chunk = 1 << 14;

    /// <summary>With fewer values per thread than this, threads cost more than they save.</summary>
    private const int FewestValuesPerThread = 1 << 16;

    /// <summary>Rounds values to grids of given scales: <c>scale * (clamp(round(value / scale), min - zeroPoint, max - zeroPoint) + shift)</c>.</summary>
    /// <param name="values">Values, row by row. NaN stays NaN.</param>
    /// <param name="grids">The grids, and which values share one.</param>
    /// <param name="destination">Receives the same number of values on the grid; may be <paramref name="values"/>.</param>
    /// <param name="threads">The most threads to use, at least 1.</param>
    /// <exception cref="ArgumentException">A length does not follow from the shape.</exception>
    public static void Forward(ReadOnlySpan<float> values, GroupGrids grids, Span<float> destination, int threads)
    {
        RequireLengths(values.Length, grids);
        RequireLength(values.Length, destination.Length, nameof(destination));
        var kernel = QuantizationKernels.Active;
        fixed (float* source = values, target = destination, scales = grids.Scales, zeroPoints = grids.ZeroPoints)
        {
            var from = source;
            var to = target;
            var walk = new Walk(grids, scales, zeroPoints, values.Length);
            Run(walk, threads, row =>
            {
                for (var group = 0; group < walk.GroupsPerRow; group++)
                {
                    var (start, length) = walk.Group(row, group);
                    kernel.FakeQuantize(new ReadOnlySpan<float>(from + start, length), walk.Grid(row, group), new Span<float>(to + start, length));
                }
            });
        }
    }

    /// <summary>The gradients of <see cref="Forward"/> (LSQ, Esser et al. 2020, equations 2 and 3; for the zero point, LSQ+, Bhalgat et al. 2020).</summary>
    /// <remarks>
    /// With v = value / scale and round as in <see cref="Forward"/> (down in a stretched grid), a value is inside if its rounded code is in the range,
    /// min - zeroPoint &lt;= round(v) &lt;= max - zeroPoint. The gradient passes inside and stops outside. PyTorch's fake quantizers,
    /// <c>_fake_quantize_learnable_per_channel_affine</c> and <c>fake_quantize_per_tensor_affine</c>, use the same rule. The paper tests v itself,
    /// which stops the gradient half a step earlier.
    /// The scale's gradient is the sum of gradient * (round(v) + shift - v) inside and of gradient * (end + shift) outside. The zero point's gradient is the
    /// sum of -scale * gradient outside.
    /// </remarks>
    /// <param name="values">The values given to <see cref="Forward"/>.</param>
    /// <param name="gradients">The gradient of each output value.</param>
    /// <param name="grids">The grids given to <see cref="Forward"/>.</param>
    /// <param name="valueGradients">Receives the gradients of the values; may be <paramref name="gradients"/>. Empty if not needed.</param>
    /// <param name="scaleGradients">Receives the gradients of the scales. Empty if not needed.</param>
    /// <param name="zeroPointGradients">Receives the gradients of the zero points. Empty if not needed.</param>
    /// <param name="threads">The most threads to use, at least 1.</param>
    /// <exception cref="ArgumentException">A length does not follow from the shape.</exception>
    public static void Backward(
        ReadOnlySpan<float> values, ReadOnlySpan<float> gradients, GroupGrids grids, Span<float> valueGradients, Span<float> scaleGradients,
        Span<float> zeroPointGradients, int threads)
    {
        RequireLengths(values.Length, grids);
        RequireLength(values.Length, gradients.Length, nameof(gradients));
        RequireLength(valueGradients.IsEmpty ? 0 : values.Length, valueGradients.Length, nameof(valueGradients));
        RequireLength(scaleGradients.IsEmpty ? 0 : grids.Scales.Length, scaleGradients.Length, nameof(scaleGradients));
        RequireLength(zeroPointGradients.IsEmpty ? 0 : grids.Scales.Length, zeroPointGradients.Length, nameof(zeroPointGradients));
        var kernel = QuantizationKernels.Active;
        fixed (float* source = values, given = gradients, target = valueGradients, scales = grids.Scales, zeroPoints = grids.ZeroPoints)
        fixed (float* scaleTarget = scaleGradients, zeroPointTarget = zeroPointGradients)
        {
            var from = source;
            var gradient = given;
            var to = target;
            var toScales = scaleTarget;
            var toZeroPoints = zeroPointTarget;
            var walk = new Walk(grids, scales, zeroPoints, values.Length);
            var chunks = walk.OneGrid ? new GridGradient[walk.Rows] : [];
            Run(walk, threads, row =>
            {
                for (var group = 0; group < walk.GroupsPerRow; group++)
                {
                    var (start, length) = walk.Group(row, group);
                    var sums = kernel.Backward(
                        new ReadOnlySpan<float>(from + start, length), new ReadOnlySpan<float>(gradient + start, length), walk.Grid(row, group),
                        to is null ? [] : new Span<float>(to + start, length));
                    if (walk.OneGrid)
                    {
                        chunks[row] = sums;
                    }
                    else
                    {
                        Store(sums, (row * walk.GroupsPerRow) + group);
                    }
                }
            });
            if (walk.OneGrid)
            {
                Store(new GridGradient(chunks.Sum(chunk => chunk.Scale), chunks.Sum(chunk => chunk.Outside)), 0);
            }

            void Store(GridGradient sums, int index)
            {
                if (toScales is not null)
                {
                    toScales[index] = (float)sums.Scale;
                }

                if (toZeroPoints is not null)
                {
                    toZeroPoints[index] = (float)(-walk.Scale(index) * sums.Outside);
                }
            }
        }
    }

    /// <summary>Rounds values to grids that cover their own ranges: measures the values that share a scale, computes their grid by
    /// <see cref="QuantizationParameters.FromRange"/> and rounds the values to it.</summary>
    /// <remarks>If a value is not finite, or the scale is above what its precision can hold, all values that share the scale become NaN.</remarks>
    /// <param name="values">Values, row by row.</param>
    /// <param name="columns">Values in a row; divides the number of values.</param>
    /// <param name="scheme">The codes to use, and which values share a scale.</param>
    /// <param name="destination">Receives the same number of values on the grid; may be <paramref name="values"/>.</param>
    /// <param name="threads">The most threads to use, at least 1.</param>
    /// <exception cref="ArgumentException">A length does not follow from the shape.</exception>
    public static void MinMax(ReadOnlySpan<float> values, int columns, QuantizationScheme scheme, Span<float> destination, int threads)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        RequireRows(values.Length, columns);
        RequireLength(values.Length, destination.Length, nameof(destination));
        if (values.IsEmpty)
        {
            return;
        }

        var kernel = QuantizationKernels.Active;
        fixed (float* source = values, target = destination)
        {
            var from = source;
            var to = target;
            var walk = new Walk(scheme.Granularity, columns, values.Length);
            var whole = walk.OneGrid ? Grid(MeasureChunks(kernel, walk, from, threads), scheme) : default;
            Run(walk, threads, row =>
            {
                for (var group = 0; group < walk.GroupsPerRow; group++)
                {
                    var (start, length) = walk.Group(row, group);
                    var run = new ReadOnlySpan<float>(from + start, length);
                    kernel.FakeQuantize(run, walk.OneGrid ? whole : Grid(kernel.Measure(run), scheme), new Span<float>(to + start, length));
                }
            });
        }
    }

    private static ValueStatistics MeasureChunks(IQuantizationKernel kernel, Walk walk, float* values, int threads)
    {
        var chunks = new ValueStatistics[walk.Rows];
        Run(walk, threads, row =>
        {
            var (start, length) = walk.Group(row, 0);
            chunks[row] = kernel.Measure(new ReadOnlySpan<float>(values + start, length));
        });
        return chunks.Aggregate(
            ValueStatistics.Create(float.PositiveInfinity, float.NegativeInfinity, 0),
            (all, chunk) => ValueStatistics.Create(
                MathF.Min(all.Range.Min, chunk.Range.Min), MathF.Max(all.Range.Max, chunk.Range.Max), all.NonFiniteCount + chunk.NonFiniteCount));
    }

    private static TrainingGrid Grid(ValueStatistics statistics, QuantizationScheme scheme) =>
        statistics.NonFiniteCount == 0 && QuantizationParameters.TryFromRange(statistics.Range, scheme, out var parameters)
            ? new TrainingGrid(parameters.Scale, scheme.Codes.Min - parameters.ZeroPoint, scheme.Codes.Max - parameters.ZeroPoint, scheme.Shift)
            : new TrainingGrid(float.NaN, scheme.Codes.Min, scheme.Codes.Max, scheme.Shift);

    private static void Run(Walk walk, int threads, Action<int> row)
    {
        var most = (int)Math.Min(threads, walk.Values / FewestValuesPerThread);
        if (most <= 1)
        {
            for (var i = 0; i < walk.Rows; i++)
            {
                row(i);
            }

            return;
        }

        // More parts than threads, because a thread may have to share its core.
        var parts = Math.Min(4 * most, walk.Rows);
        Parallel.For(0, parts, new ParallelOptions { MaxDegreeOfParallelism = most }, part =>
        {
            for (var i = (int)((long)walk.Rows * part / parts); i < (int)((long)walk.Rows * (part + 1) / parts); i++)
            {
                row(i);
            }
        });
    }

    private static void RequireLengths(int values, GroupGrids grids)
    {
        RequireRows(values, grids.Columns);
        var groups = values == 0 ? 0 : QuantizedTensor.GroupCount(values / grids.Columns, grids.Columns, grids.Granularity);
        RequireLength(groups, grids.Scales.Length, nameof(grids));
        RequireLength(grids.ZeroPoints.IsEmpty ? 0 : groups, grids.ZeroPoints.Length, nameof(grids));
    }

    private static void RequireRows(int values, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        if (values % columns != 0)
        {
            throw new ArgumentException($"{values} values are not a whole number of rows of {columns}.", nameof(values));
        }
    }

    private static void RequireLength(int expected, int found, string name)
    {
        if (found != expected)
        {
            throw new ArgumentException($"Expected {expected} values, found {found}.", name);
        }
    }

    /// <summary>A matrix as rows of runs that share a grid. If all values share one grid, the rows are chunks of fixed length.</summary>
    private readonly struct Walk
    {
        private readonly float* scales;
        private readonly float* zeroPoints;
        private readonly int columns;
        private readonly int groupLength;
        private readonly CodeRange codes;
        private readonly float shift;

        public Walk(Granularity granularity, int columns, int values)
        {
            Values = values;
            OneGrid = granularity is PerTensor;
            this.columns = OneGrid ? Chunk : columns;
            groupLength = OneGrid ? Chunk : granularity.GroupLength(columns);
            Rows = (values + this.columns - 1) / this.columns;
            GroupsPerRow = (this.columns + groupLength - 1) / groupLength;
        }

        public Walk(GroupGrids grids, float* scales, float* zeroPoints, int values)
            : this(grids.Granularity, grids.Columns, values)
        {
            this.scales = scales;
            this.zeroPoints = zeroPoints;
            codes = grids.Codes;
            shift = grids.Shift;
        }

        public int Values { get; }

        public bool OneGrid { get; }

        public int Rows { get; }

        public int GroupsPerRow { get; }

        public (int Start, int Length) Group(int row, int group)
        {
            var column = group * groupLength;
            var start = (row * columns) + column;
            return (start, Math.Min(Math.Min(groupLength, columns - column), Values - start));
        }

        public float Scale(int index) => scales[index];

        public TrainingGrid Grid(int row, int group)
        {
            var index = OneGrid ? 0 : (row * GroupsPerRow) + group;
            var zeroPoint = zeroPoints is null ? 0 : zeroPoints[index];
            return new TrainingGrid(scales[index], codes.Min - zeroPoint, codes.Max - zeroPoint, shift);
        }
    }
}

/// <summary>The grids that a matrix of values is fake-quantized to.</summary>
/// <param name="scales">One positive scale per group, row by row. If a scale is NaN, so are its values.</param>
/// <param name="zeroPoints">One zero point per group, whole numbers; empty if all are 0.</param>
/// <param name="columns">Values in a row of the matrix.</param>
/// <param name="granularity">Which values share a scale.</param>
/// <param name="codes">The codes to use.</param>
/// <param name="shift">0, or 1/2 for a stretched grid, whose values <c>scale * (code + 1/2)</c> lie evenly around zero and round down (SEQ of ParetoQ, Liu et
/// al. 2025).</param>
internal readonly ref struct GroupGrids(
    ReadOnlySpan<float> scales, ReadOnlySpan<float> zeroPoints, int columns, Granularity granularity, CodeRange codes, float shift = 0)
{
    /// <summary>One scale per group, row by row.</summary>
    public ReadOnlySpan<float> Scales { get; } = scales;

    /// <summary>One zero point per group, row by row; empty if all are 0.</summary>
    public ReadOnlySpan<float> ZeroPoints { get; } = zeroPoints;

    /// <summary>Values in a row of the matrix.</summary>
    public int Columns { get; } = columns;

    /// <summary>Which values share a scale.</summary>
    public Granularity Granularity { get; } = granularity;

    /// <summary>The codes to use.</summary>
    public CodeRange Codes { get; } = codes;

    /// <summary>0, or 1/2 for a stretched grid.</summary>
    public float Shift { get; } = shift is 0 or 0.5f ? shift : throw new ArgumentOutOfRangeException(nameof(shift), shift, "A grid is shifted by 0 or 0.5.");
}
