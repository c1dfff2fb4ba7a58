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
/// The operations of <see cref="Quantize"/> on models: <c>Quantize.Ptq</c>, <c>Quantize.EstimatePtq</c>, <c>Quantize.Qat</c> and <c>Quantize.Compare</c>.
/// </summary>
/// <remarks>
/// Each operation has two forms. The form from folder to folder can be resumed and needs little memory; the other form works on a model in memory. PTQ and
/// QAT accept any TorchSharp module too. The operations are static extensions of <see cref="Quantize"/>. From a language without static extensions, call
/// them on this class.
/// </remarks>
public static class QuantizeModel
{
    extension(Quantize)
    {
        /// <summary>Quantizes a checkpoint into an artifact without training, one block at a time.</summary>
        /// <remarks>The same call resumes a run that was stopped or killed. The resumed run produces the same bytes.</remarks>
        /// <param name="model">The folder of the float checkpoint, in Hugging Face layout.</param>
        /// <param name="recipe">What to do with each layer, for example <c>RecipePresets.Parse("w4a16-g32")</c>.</param>
        /// <param name="output">
        /// The artifact's folder, which must not exist yet. Unfinished work is kept next to it in <c>OUTPUT.job</c>.
        /// </param>
        /// <param name="options">The options. Default: null, all defaults.</param>
        /// <param name="progress">Receives progress after each layer.</param>
        /// <param name="cancellation">Cancels between layers and batches. Finished work is kept for the next run.</param>
        /// <exception cref="NibbleException">
        /// The model cannot be loaded, the recipe matches no layer or needs data that are missing, the output exists, or its job folder belongs to another job.
        /// </exception>
        public static QuantizationResult Ptq(
            string model,
            Recipe recipe,
            string output,
            PtqOptions? options = null,
            IProgress<RunProgress>? progress = null,
            CancellationToken cancellation = default) =>
            PostTrainingQuantizer.Run(Request(model, recipe, output, options, cancellation), progress, cancellation);

        /// <summary>Quantizes the checkpoint that a model was loaded from, without training. Nothing is written to disk.</summary>
        /// <param name="model">The float model, unchanged since it was loaded from its folder.</param>
        /// <param name="recipe">What to do with each layer.</param>
        /// <param name="options">
        /// The options. Default: null, all defaults. <see cref="PtqOptions.Task"/> and <see cref="PtqOptions.Restart"/> have no effect.
        /// </param>
        /// <param name="progress">Receives progress after each layer.</param>
        /// <param name="cancellation">Cancels between layers and batches.</param>
        /// <returns>The quantized model, for <c>QuantizedModelFile.Save</c>.</returns>
        /// <exception cref="NibbleException">The model is already quantized, or the recipe matches no layer or needs data that are missing.</exception>
        public static QuantizedModel Ptq(
            LoadedModel model, Recipe recipe, PtqOptions? options = null, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
        {
            ArgumentNullException.ThrowIfNull(model);
            ArgumentNullException.ThrowIfNull(recipe);
            options ??= new PtqOptions();
            RequireOne(options.Data, options.DataFiles);
            var data = options.DataFiles.Count == 0 ? options.Data
                : Read(model, options.DataFiles, new CompareOptions { Logger = options.Logger }, cancellation);
            return PostTrainingQuantizer.Run(model, recipe, options with { Data = data, DataFiles = [], Restart = false }, progress, cancellation);
        }

        /// <summary>
        /// Quantizes any TorchSharp module without training. Weights are rounded to nearest, inputs are calibrated, and batch normalizations are folded.
        /// </summary>
        /// <param name="module">The trained float module. Afterwards it is prepared and computes the same as the result.</param>
        /// <param name="recipe">What to do with each layer. Its only algorithm is round to nearest.</param>
        /// <param name="options">Calibration data and what you know about the module. Default: null, all defaults.</param>
        /// <param name="progress">Receives progress after each layer.</param>
        /// <param name="cancellation">Cancels between layers and batches.</param>
        /// <exception cref="NibbleException">
        /// The recipe names an algorithm other than round to nearest, or the module or the data cannot be quantized this way.
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

        /// <summary>Estimates the cost of <c>Ptq</c> by running its expensive part on one block and a few windows. Writes nothing.</summary>
        /// <param name="model">The folder of the float checkpoint.</param>
        /// <param name="recipe">What to do with each layer.</param>
        /// <param name="options">The options. Default: null, all defaults.</param>
        /// <param name="cancellation">Cancels between layers and batches.</param>
        /// <exception cref="NibbleException">As for <c>Ptq</c>.</exception>
        public static RunEstimate EstimatePtq(string model, Recipe recipe, PtqOptions? options = null, CancellationToken cancellation = default) =>
            PostTrainingQuantizer.Estimate(Request(model, recipe, string.Empty, options, cancellation), cancellation);

        /// <summary>Trains a checkpoint through its quantizers so that it adapts to them, and writes the result as an artifact.</summary>
        /// <remarks>
        /// The same call resumes a run that was stopped or killed. With the same number of threads, the resumed run produces the same bytes.
        /// </remarks>
        /// <param name="model">The folder of the float checkpoint, in Hugging Face layout.</param>
        /// <param name="recipe">
        /// What to do with each layer, and how to train (<see cref="Recipe.Qat"/>). Sequences are shortened to the model's maximum.
        /// </param>
        /// <param name="output">
        /// The artifact's folder, which must not exist yet. Unfinished work is kept next to it in <c>OUTPUT.job</c>.
        /// </param>
        /// <param name="options">The data and the other options. Default: null, all defaults.</param>
        /// <param name="progress">Receives progress after each step.</param>
        /// <param name="cancellation">Cancels between steps. Finished work is kept for the next run.</param>
        /// <exception cref="NibbleException">
        /// The model cannot be trained with the recipe, training diverged, the output exists, or its job folder belongs to another job.
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

        /// <summary>Trains a model in memory through its quantizers so that it adapts to them. Nothing is written to disk.</summary>
        /// <param name="model">
        /// The float model (<see cref="LoadedModel.OpenToTrain"/>). It is trained in place and computes the same as the result afterwards.
        /// </param>
        /// <param name="recipe">
        /// What to do with each layer, and how to train (<see cref="Recipe.Qat"/>). Sequences are shortened to the model's maximum.
        /// </param>
        /// <param name="options">
        /// The data and the other options. Default: null, all defaults. <see cref="QatOptions.Task"/>, <see cref="QatOptions.CheckpointEvery"/> and
        /// <see cref="QatOptions.Restart"/> have no effect.
        /// </param>
        /// <param name="progress">Receives progress after each step.</param>
        /// <param name="cancellation">Cancels between steps.</param>
        /// <returns>The quantized model, for <c>QuantizedModelFile.Save</c>.</returns>
        /// <exception cref="NibbleException">The model is already quantized or cannot be trained with the recipe, or training diverged.</exception>
        public static QuantizedModel Qat(
            LoadedModel model, Recipe recipe, QatOptions? options = null, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
        {
            ArgumentNullException.ThrowIfNull(model);
            ArgumentNullException.ThrowIfNull(recipe);
            model.RequireFloat();
            return QatRun.RunInMemory(Request(model, recipe, string.Empty, options, cancellation), progress, cancellation);
        }

        /// <summary>Trains any TorchSharp module through its quantizers with AdamW and the recipe's settings.</summary>
        /// <remarks>For your own training loop, use <see cref="QuantizationAware.Prepare"/> and <see cref="PreparedModel.Convert"/>.</remarks>
        /// <param name="module">
        /// The trained float module. Afterwards it is prepared, in evaluation mode, and computes the same as the result (<see cref="QuantizationAware.Load"/>).
        /// </param>
        /// <param name="recipe">
        /// What to do with each layer, and how to train (<see cref="Recipe.Qat"/>). Of its batch settings, only the number of accumulated parts is used.
        /// </param>
        /// <param name="loss">
        /// Returns the mean loss of a batch, a scalar with a gradient, for the batch's number, from 0. A step uses one batch, or as many as the recipe
        /// accumulates. The loss must depend only on this number and the module, so that interrupted training can resume.
        /// </param>
        /// <param name="options">Calibration data and the other options. Default: null, all defaults.</param>
        /// <param name="progress">Receives progress after each step.</param>
        /// <param name="cancellation">Cancels between steps.</param>
        /// <exception cref="NibbleException">
        /// The recipe needs a model that Nibble supports, the module cannot be quantized with it, or training diverged.
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
        /// Scores a float model and its artifact on the same data: the task's metrics, the loss, the divergence and how often the two agree.
        /// </summary>
        /// <param name="original">The folder of the float checkpoint.</param>
        /// <param name="artifact">The folder of the artifact, or of any checkpoint of the same kind.</param>
        /// <param name="dataFile">
        /// The data, in the format of the model's task: running text for a decoder, lines of <c>text TAB label</c> for a classifier.
        /// </param>
        /// <param name="options">The options. Default: null, all defaults.</param>
        /// <param name="progress">Receives progress after each batch, first of one model, then of the other.</param>
        /// <param name="cancellation">Cancels between batches.</param>
        /// <exception cref="NibbleException">
        /// A model cannot be loaded, the data contain nothing to score, or a model computes NaN or infinite values.
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
            return Score(model, quantized.Model, Read(model, [dataFile], options, cancellation), options, progress, cancellation);
        }

        /// <summary>Scores a float model and its quantized version on the same data.</summary>
        /// <param name="original">The float model.</param>
        /// <param name="quantized">The quantized version. It is simulated in memory during the call.</param>
        /// <param name="data">Data read by the model's task (<c>ModelTasks.Of(original.Definition).Read</c>).</param>
        /// <param name="options">
        /// The options. Default: null, all defaults. <see cref="CompareOptions.MaxLength"/> and <see cref="CompareOptions.Task"/> have no effect.
        /// </param>
        /// <param name="progress">Receives progress after each batch, first of one model, then of the other.</param>
        /// <param name="cancellation">Cancels between batches.</param>
        /// <exception cref="NibbleException">The data contain nothing to score, or a model computes NaN or infinite values.</exception>
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
        RequireOne(options.Data, options.DataFiles);
        if (options.DataFiles.Count == 0)
        {
            return new PtqRequest(model, recipe, output, options);
        }

        LoadedModel.RequireFloat(model);
        using var loaded = LoadedModel.Open(model, options.Task);
        var data = Read(loaded, options.DataFiles, new CompareOptions { Logger = options.Logger }, cancellation);
        return new PtqRequest(model, recipe, output, options with { Data = data, DataFiles = [] });
    }

    private static QatRequest Request(LoadedModel model, Recipe recipe, string output, QatOptions? options, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(output);
        options ??= new QatOptions();
        RequireOne(options.Data, options.DataFiles);
        var settings = recipe.Qat with { SequenceLength = Math.Min(recipe.Qat.SequenceLength, model.Definition.MaxSequence) };
        var data = options.DataFiles.Count > 0 ? Read(model, options.DataFiles, new CompareOptions { Logger = options.Logger }, cancellation) : options.Data;
        return new QatRequest(model, recipe, settings, data, output, options with { DataFiles = [] });
    }

    private static ITaskData Read(LoadedModel model, IReadOnlyList<string> paths, CompareOptions options, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(paths);
        var data = ModelTasks.Of(model.Definition).Read(paths, model, new ReadOptions(options.MaxLength), cancellation);
        foreach (var note in data.Notes)
        {
            options.Logger?.Advise(note);
        }

        return data;
    }

    private static void RequireOne(object? data, IReadOnlyList<string> dataFiles)
    {
        if (data is not null && dataFiles.Count > 0)
        {
            throw new ArgumentException(
                $"{nameof(PtqOptions.Data)} and {nameof(PtqOptions.DataFiles)} are both set, expected at most one.", nameof(dataFiles));
        }
    }
}
