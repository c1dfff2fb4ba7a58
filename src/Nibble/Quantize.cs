using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble;

/// <summary>Where to begin: quantize a matrix here, and with <c>Nibble.Torch</c> a model by PTQ or QAT, and compare it with its float original.</summary>
/// <remarks>
/// <c>Nibble.Torch</c> adds the verbs <c>Quantize.Ptq</c>, <c>Quantize.EstimatePtq</c>, <c>Quantize.Qat</c> and <c>Quantize.Compare</c> to this class. Each
/// verb takes what it needs, a record of options whose defaults their documentation gives, who is told of the progress, and what cancels it.
/// </remarks>
public static class Quantize
{
    /// <summary>Quantizes a weight matrix by any algorithm that looks at one matrix.</summary>
    /// <remarks>The result depends neither on the number of threads nor on the machine.</remarks>
    /// <param name="values">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <param name="options">The algorithm, and what it is to know of the layer's inputs; null rounds to nearest.</param>
    /// <param name="progress">Told when the inputs have been looked at (<c>calibrate</c>, in columns) and when all is done (<c>quantize</c>, in rows).</param>
    /// <param name="cancellation">Stops GPTQ between chunks of rows; the other algorithms take a moment.</param>
    /// <returns>The codes, scales and zero points; <see cref="QuantizedTensor.Dequantize()"/> gives the values that they stand for.</returns>
    /// <exception cref="ArgumentException">A length does not follow from the shape, or an option is out of range.</exception>
    /// <exception cref="NibbleException">
    /// A weight or an input is not finite, the granularity is per token, a scale does not fit the precision it is stored in, or the algorithm needs inputs
    /// that are missing, or more than one matrix (GPTAQ).
    /// </exception>
    public static QuantizedTensor Matrix(
        ReadOnlySpan<float> values,
        int rows,
        int columns,
        QuantizationScheme scheme,
        MatrixOptions? options = null,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        options ??= new MatrixOptions();
        RequireFitting(options, columns);
        cancellation.ThrowIfCancellationRequested();
        var range = options.Range ?? new WeightAlgorithms(Rounding: options.Algorithm).UsualRange ?? WeightRange.MinMax;
        var tensor = options.Algorithm switch
        {
            WeightRounding.RoundToNearest => RoundToNearest.Quantize(values, rows, columns, scheme, range),
            WeightRounding.Hqq => Hqq.Quantize(values, rows, columns, scheme),
            WeightRounding.ImportanceWeighted => ImportanceWeighted.Quantize(values, rows, columns, scheme, Importance(options, columns, progress)),
            WeightRounding.Gptq => Gptq.Quantize(
                values,
                rows,
                columns,
                scheme,
                Factor(options, columns, progress, cancellation),
                new GptqOptions { Range = range, WeighByImportance = true, Order = options.ActivationOrder, Threads = options.Threads },
                cancellation).Weight,
            WeightRounding.Gptaq => throw new NibbleException(
                "GPTAQ rounds a matrix towards what the float model computes on inputs of its own, which a matrix alone does not tell; use GPTQ, or quantize "
                + "the model by Quantize.Ptq with a recipe such as w4a16-g32-gptaq"),
            _ => throw new ArgumentOutOfRangeException(nameof(options), options.Algorithm, $"{options.Algorithm} is no {nameof(WeightRounding)}."),
        };
        progress?.Report(new RunProgress("quantize", rows, rows));
        return tensor;
    }

    private static void RequireFitting(MatrixOptions options, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        if (!options.Inputs.IsEmpty && options.Hessian is not null)
        {
            throw new ArgumentException(
                $"{nameof(MatrixOptions.Inputs)} and {nameof(MatrixOptions.Hessian)} were both given, expected one of them.", nameof(options));
        }

        if (options.Inputs.Length % columns != 0)
        {
            throw new ArgumentException($"{options.Inputs.Length} inputs were given, expected rows of {columns} columns.", nameof(options));
        }

        if (options.Hessian is { } hessian && hessian.Size != columns)
        {
            throw new ArgumentException($"A Hessian of {hessian.Size} columns was given, expected one of {columns}.", nameof(options));
        }

        var isGiven = !options.Inputs.IsEmpty || options.Hessian is not null;
        var needs = new WeightAlgorithms(Rounding: options.Algorithm);
        if (needs.NeedsData && !isGiven && options.Algorithm != WeightRounding.Gptaq)
        {
            throw new NibbleException(
                $"the algorithm {needs.Names[0]} has to know the layer's inputs, and none are given; set {nameof(MatrixOptions.Inputs)} or "
                + $"{nameof(MatrixOptions.Hessian)}, or use round to nearest or HQQ");
        }

        if (!needs.NeedsData && isGiven)
        {
            options.Logger?.Advise($"the algorithm {needs.Names[0]} looks at no inputs, so those that are given have no effect");
        }
    }

    private static float[] Importance(MatrixOptions options, int columns, IProgress<RunProgress>? progress)
    {
        float[] importance = options.Hessian is { } hessian
            ? [.. Enumerable.Range(0, columns).Select(column => hessian[column, column] / 2)]
            : InputMoments.MeanSquares(options.Inputs.Span, columns);
        progress?.Report(new RunProgress("calibrate", columns, columns));
        return importance;
    }

    private static HessianFactor Factor(MatrixOptions options, int columns, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        // The factorization works in the memory of its matrix, and the caller's is not to be changed.
        var hessian = options.Hessian?.Copy() ?? InputMoments.Hessian(options.Inputs, columns, options.Threads, cancellation);
        var factor = HessianFactor.Create(hessian, options.ActivationOrder != ActivationOrder.None, options.Dampening, options.Threads);
        if (factor.Warning is { } warning)
        {
            options.Logger?.Advise(warning);
        }

        progress?.Report(new RunProgress("calibrate", columns, columns));
        return factor;
    }
}
