using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Onnx.Tests.Serving;

/// <summary>A tiny encoder, exported with its tokenizer into a folder of its own, and the same model in the simulation.</summary>
internal sealed class TinyExport : IDisposable
{
    private readonly LoadedModel simulated;

    private TinyExport(LoadedModel simulated, string path) => (this.simulated, Path) = (simulated, path);

    /// <summary>The exported file.</summary>
    public string Path { get; }

    /// <summary>Exports an embedding model.</summary>
    /// <param name="folder">Where to write.</param>
    /// <param name="recipe">The recipe of a quantized model; null for the float model.</param>
    /// <param name="type">The type of the model.</param>
    /// <param name="pooling">How token vectors become one vector.</param>
    public static TinyExport Embedding(TemporaryFolder folder, string? recipe = null, string type = "bert", Pooling pooling = Pooling.Mean)
    {
        var model = new TinyBert(type).Write(folder.File("headless"), tensors =>
        {
            foreach (var name in tensors.Keys.Where(name => name.Split('.')[0] is "classifier" or "pre_classifier").ToList())
            {
                tensors.Remove(name);
            }
        });
        return Export(folder, model, new TaskConfig(ModelTask.Embedding, pooling, Normalizes: true), recipe);
    }

    /// <summary>Exports a classifier.</summary>
    /// <param name="folder">Where to write.</param>
    /// <param name="recipe">The recipe of a quantized model; null for the float model.</param>
    /// <param name="scale">What the weights of the last layer are multiplied by.</param>
    public static TinyExport Classifier(TemporaryFolder folder, string? recipe = null, float scale = 1) => Export(
        folder,
        new TinyBert().Write(folder.File("classifier"), tensors =>
        {
            foreach (ref var weight in tensors["classifier.weight"].Values.AsSpan())
            {
                weight *= scale;
            }
        }),
        task: null,
        recipe);

    /// <summary>The simulation's output for one text, without padding: an embedding, or logits.</summary>
    public float[] Simulate(string text) => Simulate(simulated, text);

    /// <summary>A model's output for one text, without padding: an embedding, or logits.</summary>
    public static float[] Simulate(LoadedModel model, string text)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokenizer = model.Tokenizer;
        using var batch = ModelBatch.Of([new TokenSequence([tokenizer.StartId!.Value, .. tokenizer.Encode(text), tokenizer.EndId!.Value])], paddingId: 0);
        return model.Model.Compute(batch).contiguous().data<float>().ToArray();
    }

    public void Dispose() => simulated.Dispose();

    private static TinyExport Export(TemporaryFolder folder, string model, TaskConfig? task, string? recipe)
    {
        if (recipe is not null)
        {
            using var source = LoadedModel.Open(model, task);
            (model, task) = (QuantizedBert.Write(source, RecipePresets.Parse(recipe), folder.File("artifact")), null);
        }

        var path = System.IO.Path.Combine(folder.File("exported"), "model.onnx");
        using var tensors = ModelTensors.Open(model, task);
        OnnxExporter.Run(tensors, path);
        return new TinyExport(LoadedModel.Open(model, task), path);
    }
}
