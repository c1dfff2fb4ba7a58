using Nibble.Artifacts;
using Nibble.Models;
using Nibble.Observers;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>The amount of calibration data.</summary>
/// <param name="Windows">The number of windows of text, at least 1. Default: 32.</param>
/// <param name="Length">Tokens per window, at least 2. Default: 256.</param>
public sealed record CalibrationOptions(int Windows = 32, int Length = 256)
{
    /// <summary>The default amount, with windows no longer than the model's maximum.</summary>
    public static CalibrationOptions For(ModelDefinition definition)
    {
        ArgumentNullException.ThrowIfNull(definition);
        var standard = new CalibrationOptions();
        return standard with { Length = Math.Min(standard.Length, definition.MaxSequence) };
    }
}

/// <summary>Runs text through a float model to determine how each layer's input is quantized.</summary>
internal static class ActivationCalibration
{
    /// <summary>Determines the activation quantization of every layer whose rule quantizes its input.</summary>
    /// <param name="model">The float model. It is unchanged afterwards.</param>
    /// <param name="recipe">The recipe.</param>
    /// <param name="data">Calibration data. Null is enough if no layer is static.</param>
    /// <param name="options">The amount of data to use.</param>
    /// <param name="seed">The seed that selects texts.</param>
    /// <param name="progress">Receives progress after each window.</param>
    /// <param name="cancellation">Cancels between windows.</param>
    /// <returns>The quantization by layer name.</returns>
    /// <exception cref="NibbleException">A layer is static but there are no data, or its input is not finite.</exception>
    public static IReadOnlyDictionary<string, ActivationQuantization> Run(
        IQuantizableModel model,
        Recipe recipe,
        ICalibrationData? data,
        CalibrationOptions options,
        long seed = 1,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(options);
        return Observe(model.Linears(), recipe,
            () => Feed(model, (data ?? throw MissingText(recipe)).Pieces(options.Windows, options.Length, seed), progress, cancellation));
    }

    /// <summary>Determines the activation quantization of every <see cref="QuantizableLinear"/> of a module whose rule quantizes its input.</summary>
    /// <param name="module">The float module. It is unchanged afterwards.</param>
    /// <param name="recipe">The recipe.</param>
    /// <param name="feed">Runs calibration data through the module, without gradients. Called once, and only if a layer is static.</param>
    /// <returns>The quantization by layer name.</returns>
    /// <exception cref="NibbleException">The input of a static layer is not finite.</exception>
    public static IReadOnlyDictionary<string, ActivationQuantization> Run(nn.Module module, Recipe recipe, Action feed)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(feed);
        var linears = module.named_modules().Where(item => item.module is QuantizableLinear)
            .Select(item => KeyValuePair.Create(item.name, (QuantizableLinear)item.module));
        return Observe(linears, recipe, feed);
    }

    /// <summary>Determines the activation quantization of some layers.</summary>
    /// <param name="linears">The layers by name. They are unchanged afterwards.</param>
    /// <param name="recipe">The recipe.</param>
    /// <param name="feed">Runs calibration data through the layers. Called once, and only if a layer is static.</param>
    /// <exception cref="NibbleException">The input of a static layer is not finite.</exception>
    internal static IReadOnlyDictionary<string, ActivationQuantization> Observe(
        IEnumerable<KeyValuePair<string, QuantizableLinear>> linears, Recipe recipe, Action feed)
    {
        var rules = linears
            .Select(linear => (linear.Key, linear.Value, Rule: recipe.RuleFor(linear.Key)?.Activations))
            .Where(item => item.Rule is not null)
            .ToList();
        var result = rules
            .Where(item => item.Rule!.Scheme.Granularity is Numerics.PerToken)
            .ToDictionary(item => item.Key, item => new ActivationQuantization(item.Rule!.Scheme, null));
        var observed = rules
            .Where(item => item.Rule!.Scheme.Granularity is not Numerics.PerToken)
            .Select(item => (Name: item.Key, Layer: item.Value, item.Rule!.Scheme, Observer: Observer.Create(item.Rule!.Observer)))
            .ToList();
        if (observed.Count == 0)
        {
            return result;
        }

        foreach (var item in observed)
        {
            item.Layer.InputQuantizer = new ObservingQuantizer(item.Observer);
        }

        try
        {
            feed();
        }
        finally
        {
            foreach (var item in observed)
            {
                item.Layer.InputQuantizer = null;
            }
        }

        foreach (var (name, _, scheme, observer) in observed)
        {
            if (observer.NonFiniteCount > 0)
            {
                throw new NibbleException(
                    $"calibration: the input of layer '{name}' holds {observer.NonFiniteCount} NaN or infinite values. The float model itself overflows on "
                    + $"this text");
            }

            result[name] = new ActivationQuantization(scheme, Numerics.QuantizationParameters.FromRange(observer.Range(scheme), scheme));
        }

        return result;
    }

    /// <summary>The error for a recipe that needs calibration data if there are none.</summary>
    internal static NibbleException MissingText(Recipe recipe) =>
        new MissingDataException($"the recipe '{recipe.Name}' uses activations, so it needs calibration data");

    private static void Feed(IQuantizableModel model, CalibrationPieces pieces, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var training = model.Module.training;
        model.Module.eval();
        try
        {
            using var guard = no_grad();
            int[] lengths = [.. pieces.Sequences.Select(sequence => sequence.Ids.Length)];
            for (int first = 0, count; first < lengths.Length; first += count)
            {
                cancellation.ThrowIfCancellationRequested();

                // Windows are run one at a time, short texts in batches.
                count = pieces.WindowTokens is null ? ActivationStream.BatchSize(lengths, first) : 1;
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                model.Compute(ModelBatch.Of([.. pieces.Sequences.Skip(first).Take(count)], model.Definition.PaddingId));
                progress?.Report(new RunProgress("calibrate", first + count, lengths.Length));
            }
        }
        finally
        {
            model.Module.train(training);
        }
    }
}
