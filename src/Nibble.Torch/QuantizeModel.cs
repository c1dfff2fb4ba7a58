using Nibble.Torch.Modules;
using Nibble.Torch.Data;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;
using static TorchSharp.torch;

namespace Nibble;

/// <summary>
/// The verbs of <see cref="Quantize"/> for models: <c>Quantize.Ptq</c>, <c>Quantize.EstimatePtq</c>, <c>Quantize.Qat</c> and <c>Quantize.Compare</c>.
/// </summary>
/// <remarks>
/// Each has a form from folder to folder, resumable, with little in memory, and one in memory; PTQ and QAT take any TorchSharp module too. They are static
/// extensions of
/// <see cref="Quantize"/>; languages that have no such call them on this class.
/// </remarks>
public static class QuantizeModel
{
    extension(Quantize)
    {
        /// <summary>Quantizes a checkpoint into an artifact without training it, one block at a time.</summary>
        /// <remarks>A run that was stopped or killed is resumed by the same call, and ends with the same bytes.</remarks>
        /// <param name="model">The float checkpoint's folder, as Hugging Face has it.</param>
        /// <param name="recipe">What to do with each layer, such as <c>RecipePresets.Parse("w4a16-g32")</c>.</param>
        /// <param name="output">The artifact's folder, which must not exist yet; the unfinished work stands beside it in <c>OUTPUT.job</c>.</param>
        /// <param name="options">How; null for the defaults.</param>
        /// <param name="progress">Told after each layer.</param>
        /// <param name="cancellation">Stops between layers and batches; what is finished is kept for the next run.</param>
        /// <exception cref="NibbleException">
        /// The model cannot be loaded, the recipe matches no layer or needs data that are missing, the output exists, or its job folder belongs to another
        /// job.
        /// </exception>
        public static QuantizationResult Ptq(
            string model,
            Recipe recipe,
            string output,
            PtqOptions? options = null,
            IProgress<RunProgress>? progress = null,
            CancellationToken cancellation = default) =>
            PostTrainingQuantizer.Run(Request(model, recipe, output, options, cancellation), progress, cancellation);

        /// <summary>Quantizes the checkpoint that a model was loaded from without training it, and leaves nothing on disk.</summary>
        /// <param name="model">The float model as it is in its folder.</param>
        /// <param name="recipe">What to do with each layer.</param>
        /// <param name="options">How; null for the defaults. <see cref="PtqOptions.Task"/> and <see cref="PtqOptions.Restart"/> have no effect.</param>
        /// <param name="progress">Told after each layer.</param>
        /// <param name="cancellation">Stops between layers and batches.</param>
        /// <returns>The quantized model, for <c>QuantizedModelFile.Save</c>.</returns>
        /// <exception cref="NibbleException">The model is quantized already, or the recipe matches no layer or needs data that are missing.</exception>
        public static QuantizedModel Ptq(
            LoadedModel model, Recipe recipe, PtqOptions? options = null, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
        {
            ArgumentNullException.ThrowIfNull(model);
            ArgumentNullException.ThrowIfNull(recipe);
            options ??= new PtqOptions();
            RequireOne(options.Data, options.DataFile);
            var data = options.DataFile is { } path ? Read(model, path, new CompareOptions { Logger = options.Logger }, cancellation) : options.Data;
            return PostTrainingQuantizer.Run(model, recipe, options with { Data = data, DataFile = null, Restart = false }, progress, cancellation);
        }

        /// <summary>Quantizes any TorchSharp module without training it: weights rounded to nearest, inputs calibrated, batch normalizations folded.</summary>
        /// <param name="module">The trained float module; afterwards it is prepared, and computes what the result does.</param>
        /// <param name="recipe">What to do with each layer; its algorithms are round to nearest.</param>
        /// <param name="options">Data to calibrate on, and what is known beforehand; null for the defaults.</param>
        /// <param name="progress">Told after each layer.</param>
        /// <param name="cancellation">Stops between layers and batches.</param>
        /// <exception cref="NibbleException">
        /// The recipe names another algorithm than round to nearest, or the module or the data cannot be quantized so.
        /// </exception>
        public static QuantizedModel Ptq(
            nn.Module<Tensor, Tensor> module,
            Recipe recipe,
            ModuleOptions? options = null,
            IProgress<RunProgress>? progress = null,
            CancellationToken cancellation = default)
        {
            options ??= new ModuleOptions();
            var model = ModuleQuantizer.Run(module, recipe, options.Batches ?? [], options.Seed, options.Prepare, progress, cancellation);
            foreach (var warning in model.Summary?.Warnings ?? [])
            {
                options.Logger?.Advise(warning);
            }

            return model;
        }

        /// <summary>Estimates what <c>Ptq</c> would cost, by doing its costly part on one block and a few windows; writes nothing.</summary>
        /// <param name="model">The float checkpoint's folder.</param>
        /// <param name="recipe">What to do with each layer.</param>
        /// <param name="options">How; null for the defaults.</param>
        /// <param name="cancellation">Stops between layers and batches.</param>
        /// <exception cref="NibbleException">As for <c>Ptq</c>.</exception>
        public static PtqEstimate EstimatePtq(string model, Recipe recipe, PtqOptions? options = null, CancellationToken cancellation = default) =>
            PostTrainingQuantizer.Estimate(Request(model, recipe, string.Empty, options, cancellation), cancellation);

        /// <summary>Trains a checkpoint through its quantizers, so that it adapts to them, and writes it as an artifact.</summary>
        /// <remarks>A run that was stopped or killed is resumed by the same call, and ends with the same bytes on the same number of threads.</remarks>
        /// <param name="model">The float checkpoint's folder, as Hugging Face has it.</param>
        /// <param name="recipe">
        /// What to do with each layer, and in <see cref="Recipe.Qat"/> how to train; sequences are shortened to what the model takes.
        /// </param>
        /// <param name="output">The artifact's folder, which must not exist yet; the unfinished work stands beside it in <c>OUTPUT.job</c>.</param>
        /// <param name="options">The data, and how else; null for the defaults.</param>
        /// <param name="progress">Told after each step.</param>
        /// <param name="cancellation">Stops between steps; what is done is kept for the next run.</param>
        /// <exception cref="NibbleException">
        /// The model cannot be trained so, the training has diverged, the output exists, or its job folder belongs to another job.
        /// </exception>
        public static QatResult Qat(
            string model,
            Recipe recipe,
            string output,
            QatOptions? options = null,
            IProgress<RunProgress>? progress = null,
            CancellationToken cancellation = default)
        {
            ArgumentNullException.ThrowIfNull(recipe);
            using var loaded = LoadedModel.OpenToTrain(model, recipe, options?.Task);
            return QatRun.Run(Request(loaded, recipe, output, options, cancellation), progress, cancellation);
        }

        /// <summary>Trains a model in memory through its quantizers, so that it adapts to them, and leaves nothing on disk.</summary>
        /// <param name="model">
        /// The float model (<see cref="LoadedModel.OpenToTrain"/>), which is trained in place and computes what the result does afterwards.
        /// </param>
        /// <param name="recipe">
        /// What to do with each layer, and in <see cref="Recipe.Qat"/> how to train; sequences are shortened to what the model takes.
        /// </param>
        /// <param name="options">
        /// The data, and how else; null for the defaults. <see cref="QatOptions.Task"/>, <see cref="QatOptions.CheckpointEvery"/> and
        /// <see cref="QatOptions.Restart"/> have no effect.
        /// </param>
        /// <param name="progress">Told after each step.</param>
        /// <param name="cancellation">Stops between steps.</param>
        /// <returns>The quantized model, for <c>QuantizedModelFile.Save</c>.</returns>
        /// <exception cref="NibbleException">The model is quantized already or cannot be trained so, or the training has diverged.</exception>
        public static QuantizedModel Qat(
            LoadedModel model, Recipe recipe, QatOptions? options = null, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
        {
            ArgumentNullException.ThrowIfNull(model);
            ArgumentNullException.ThrowIfNull(recipe);
            model.RequireFloat();
            return QatRun.RunInMemory(Request(model, recipe, string.Empty, options, cancellation), progress, cancellation);
        }

        /// <summary>Trains any TorchSharp module through its quantizers, by AdamW as the recipe's settings say.</summary>
        /// <remarks>For a training loop of your own, use <see cref="QuantizationAware.Prepare"/> and <see cref="PreparedModel.Convert"/>.</remarks>
        /// <param name="module">
        /// The trained float module; afterwards it is prepared, in evaluation, and computes what the result does (<see cref="QuantizationAware.Load"/>).
        /// </param>
        /// <param name="recipe">
        /// What to do with each layer, and in <see cref="Recipe.Qat"/> how to train; of its batches only the number of parts counts.
        /// </param>
        /// <param name="loss">
        /// The mean loss of a batch, a scalar with a gradient, by the batch's number, from 0; a step has one batch, or as many as the recipe accumulates. It
        /// depends on this number and the module alone, so that an interrupted training can go on.
        /// </param>
        /// <param name="options">Data to calibrate on, and how else; null for the defaults.</param>
        /// <param name="progress">Told after each step.</param>
        /// <param name="cancellation">Stops between steps.</param>
        /// <exception cref="NibbleException">
        /// The recipe asks for what needs a model that Nibble knows, the module cannot be quantized so, or the training has diverged.
        /// </exception>
        public static QuantizedModel Qat(
            nn.Module module,
            Recipe recipe,
            Func<int, Tensor> loss,
            ModuleOptions? options = null,
            IProgress<RunProgress>? progress = null,
            CancellationToken cancellation = default)
        {
            ArgumentNullException.ThrowIfNull(module);
            ArgumentNullException.ThrowIfNull(recipe);
            ArgumentNullException.ThrowIfNull(loss);
            return ModuleTrainer.Run(module, recipe, loss, options ?? new ModuleOptions(), progress, cancellation);
        }

        /// <summary>
        /// Scores a float model and its artifact on the same data: the measures of the task, the loss, the divergence and how often they agree.
        /// </summary>
        /// <param name="original">The float checkpoint's folder.</param>
        /// <param name="artifact">The artifact's folder, or that of any checkpoint of the same kind.</param>
        /// <param name="dataFile">
        /// The data, in the form that the model's task takes: a text for a decoder, lines <c>text TAB label</c> for a classifier.
        /// </param>
        /// <param name="options">How; null for the defaults.</param>
        /// <param name="progress">Told after each batch, of one model after the other.</param>
        /// <param name="cancellation">Stops between batches.</param>
        /// <exception cref="NibbleException">
        /// A model cannot be loaded, the data have nothing to score by, or a model computes NaN or infinite values.
        /// </exception>
        public static ModelComparison Compare(
            string original,
            string artifact,
            string dataFile,
            CompareOptions? options = null,
            IProgress<RunProgress>? progress = null,
            CancellationToken cancellation = default)
        {
            options ??= new CompareOptions();
            using var model = LoadedModel.Open(original, options.Task);
            using var quantized = LoadedModel.Open(artifact, options.Task);
            return Score(model, quantized.Model, Read(model, dataFile, options, cancellation), options, progress, cancellation);
        }

        /// <summary>Scores a float model and what it was quantized to on the same data.</summary>
        /// <param name="original">The float model.</param>
        /// <param name="quantized">What was made of it; it is simulated in memory meanwhile.</param>
        /// <param name="data">Data that the model's task has read (<c>ModelTasks.Of(original.Definition).Read</c>).</param>
        /// <param name="options">
        /// How; null for the defaults. <see cref="CompareOptions.MaxLength"/> and <see cref="CompareOptions.Task"/> have no effect.
        /// </param>
        /// <param name="progress">Told after each batch, of one model after the other.</param>
        /// <param name="cancellation">Stops between batches.</param>
        /// <exception cref="NibbleException">The data have nothing to score by, or a model computes NaN or infinite values.</exception>
        public static ModelComparison Compare(
            LoadedModel original,
            QuantizedModel quantized,
            ITaskData data,
            CompareOptions? options = null,
            IProgress<RunProgress>? progress = null,
            CancellationToken cancellation = default)
        {
            ArgumentNullException.ThrowIfNull(original);
            ArgumentNullException.ThrowIfNull(data);
            using var simulated = LoadedModel.Simulate(quantized, original.Name);
            return Score(original, simulated, data, options ?? new CompareOptions(), progress, cancellation);
        }
    }

    private static ModelComparison Score(
        LoadedModel original,
        IQuantizableModel quantized,
        ITaskData data,
        CompareOptions options,
        IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        var task = ModelTasks.Of(original.Definition);
        var scoring = new ScoreOptions { Count = options.Count, Context = options.Context };
        return new ModelComparison(
            task.Evaluate(original.Model, data, scoring, progress, cancellation),
            task.Evaluate(quantized, data, scoring with { Reference = original.Model }, progress, cancellation));
    }

    private static PtqRequest Request(string model, Recipe recipe, string output, PtqOptions? options, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(output);
        options ??= new PtqOptions();
        RequireOne(options.Data, options.DataFile);
        if (options.DataFile is not { } path)
        {
            return new PtqRequest(model, recipe, output, options);
        }

        LoadedModel.RequireFloat(model);
        using var loaded = LoadedModel.Open(model, options.Task);
        var data = Read(loaded, path, new CompareOptions { Logger = options.Logger }, cancellation);
        return new PtqRequest(model, recipe, output, options with { Data = data, DataFile = null });
    }

    private static QatRequest Request(LoadedModel model, Recipe recipe, string output, QatOptions? options, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(output);
        options ??= new QatOptions();
        RequireOne(options.Data, options.DataFile);
        var settings = recipe.Qat with { SequenceLength = Math.Min(recipe.Qat.SequenceLength, model.Definition.MaxSequence) };
        var data = options.DataFile is { } path ? Read(model, path, new CompareOptions { Logger = options.Logger }, cancellation) : options.Data;
        return new QatRequest(model, recipe, settings, data, output, options with { DataFile = null });
    }

    private static ITaskData Read(LoadedModel model, string path, CompareOptions options, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(path);
        var data = ModelTasks.Of(model.Definition).Read(path, model, new ReadOptions(options.MaxLength), cancellation);
        foreach (var note in data.Notes)
        {
            options.Logger?.Advise(note);
        }

        return data;
    }

    private static void RequireOne(object? data, string? dataFile)
    {
        if (data is not null && dataFile is not null)
        {
            throw new ArgumentException(
                $"{nameof(PtqOptions.Data)} and {nameof(PtqOptions.DataFile)} were both given, expected one of them.", nameof(dataFile));
        }
    }
}
