using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble;

/// <summary>The entry point: quantizes a matrix and, with <c>Nibble.Torch</c>, quantizes a model by PTQ or QAT and compares it with the original.</summary>
/// <remarks>
/// <c>Nibble.Torch</c> adds the methods <c>Quantize.Ptq</c>, <c>Quantize.EstimatePtq</c>, <c>Quantize.Qat</c> and <c>Quantize.Compare</c> to this class. Each
/// method takes its inputs, a record of options with documented defaults, a receiver of progress and a cancellation token. All of them can run on several
/// threads at the same time, but not on the same model in memory. They write nothing to the console.
/// </remarks>
public static class Quantize
{
    /// <summary>Quantizes a weight matrix with any algorithm that needs only one matrix.</summary>
    /// <remarks>The result depends neither on the number of threads nor on the machine.</remarks>
    /// <param name="values">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <param name="options">The algorithm and what it knows about the layer's inputs. Null rounds to nearest.</param>
    /// <param name="progress">Receives a report after calibration (<c>calibrate</c>, in columns) and at the end (<c>quantize</c>, in rows).</param>
    /// <param name="cancellation">Stops GPTQ between chunks of rows. The other algorithms finish quickly and ignore it.</param>
    /// <returns>The codes, scales and zero points. <see cref="QuantizedTensor.Dequantize()"/> returns their values.</returns>
    /// <exception cref="ArgumentException">A length does not follow from the shape, or an option is out of range.</exception>
    /// <exception cref="NibbleException">
    /// A weight or an input is not finite, the granularity is per token, a scale does not fit its stored precision, the algorithm needs inputs that were not
    /// given, or the algorithm needs a whole model (GPTAQ).
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
        var range = options.Range ?? new WeightAlgorithms(Rounding: options.Algorithm).DefaultRange ?? WeightRange.MinMax;
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
                "GPTAQ compares the inputs that the float and the quantized model give a layer, which needs the whole model; use GPTQ, or quantize "
                + "the model with Quantize.Ptq and a recipe such as w4a16-g32-gptaq"),
            _ => throw new ArgumentOutOfRangeException(nameof(options), options.Algorithm, $"{options.Algorithm} is not a {nameof(WeightRounding)}."),
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
                $"the algorithm {needs.Names[0]} needs the layer's inputs, and none were given; set {nameof(MatrixOptions.Inputs)} or "
                + $"{nameof(MatrixOptions.Hessian)}, or use round to nearest or HQQ");
        }

        if (!needs.NeedsData && isGiven)
        {
            options.Logger?.Advise($"the algorithm {needs.Names[0]} does not use inputs, so the given inputs have no effect");
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
        // The factorization overwrites its matrix, and the caller's matrix must not change.
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
