using System.Text.Json.Nodes;
using Nibble.Formats;
using Nibble.Formats.Safetensors;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Ptq.Rotations;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>The float model that a recipe quantizes: the checkpoint, rotated and given biases where the recipe asks for it, a part at a time.</summary>
internal sealed class PtqSource : IDisposable
{
    private const string HeadWeight = LlamaCheckpoint.HeadName + ".weight";

    private readonly LlamaCheckpoint checkpoint;
    private readonly Recipe recipe;
    private readonly ModelRotation? rotation;

    public PtqSource(LlamaCheckpoint checkpoint, Recipe recipe, long seed)
    {
        this.checkpoint = checkpoint;
        this.recipe = recipe;
        ConfigJson = checkpoint.ConfigJson;
        if (recipe.Rotation == Rotation.Hadamard)
        {
            rotation = new ModelRotation(checkpoint.Config, seed);
        }

        if (rotation is not null || TiedHead.IsNamed(recipe, checkpoint.Config))
        {
            ConfigJson = TiedHead.Untie(ConfigJson);
        }

        // The one family here whose configuration can give every layer a bias.
        if (checkpoint.Config.ModelType == "llama" && recipe.Rules.Any(rule => rule.Algorithms.BiasCorrection))
        {
            var config = JsonNode.Parse(ConfigJson)!.AsObject();
            config["attention_bias"] = true;
            config["mlp_bias"] = true;
            ConfigJson = config.ToJsonString();
        }

        Config = LlamaConfig.Parse(ConfigJson, checkpoint.Folder);
    }

    /// <summary>The <c>config.json</c> of the model to be quantized.</summary>
    public string ConfigJson { get; }

    /// <summary>The shape of the model to be quantized.</summary>
    public LlamaConfig Config { get; }

    /// <summary>Reads the unit of a number: a block, or the head behind the last one.</summary>
    public QuantizationUnit Load(int number, Device device)
    {
        using var guard = no_grad();
        if (number == Config.Layers)
        {
            return QuantizationUnit.OfHead(LoadHead(device));
        }

        var block = checkpoint.LoadBlock(number, Config);
        if (rotation is not null)
        {
            // An artifact records what turns an input with the quantized layer that reads it.
            rotation.Apply(block, online: recipe.RuleFor(LlamaCheckpoint.BlockPrefix(number) + "mlp.down_proj") is not null);
            block.Attention.HeadRotation = ModelRotation.ForKeys(Config, recipe);
        }

        return QuantizationUnit.OfBlock(block.to(device), number);
    }

    /// <summary>Embeds tokens, [batch, length] to [batch, length, hidden].</summary>
    public Tensor Embed(long[] tokens, int batch)
    {
        using var scope = NewDisposeScope();
        var embedded = checkpoint.Embed(tokens, batch);
        return (rotation is null ? embedded : Conversion.RoundTo(rotation.RotateEmbedding(embedded), StoredAs(LlamaCheckpoint.EmbeddingName))).MoveToOuterDisposeScope();
    }

    /// <summary>The element type that a tensor is stored in; one that the checkpoint lacks is stored like what it belongs to.</summary>
    public ElementType StoredAs(string tensor) => checkpoint.Contains(tensor) ? checkpoint.StoredAs(tensor)
        : tensor == HeadWeight ? checkpoint.StoredAs(LlamaCheckpoint.EmbeddingName)
        : checkpoint.StoredAs(Path.ChangeExtension(tensor, "weight"));

    /// <summary>The tensors outside the blocks, copied a part at a time.</summary>
    /// <param name="head">Whether the final norm and the head are among them; they are not where the head is quantized.</param>
    public IEnumerable<SafetensorsTensor> OuterTensors(bool head)
    {
        foreach (var (name, shape) in LlamaCheckpoint.OuterTensors(Config).Where(tensor => head || tensor.Name == LlamaCheckpoint.EmbeddingName))
        {
            var type = StoredAs(name);
            yield return new SafetensorsTensor(name, type, shape, (rotation, name) switch
            {
                (null, _) => stream => checkpoint.CopyTo(name, stream),
                (_, LlamaCheckpoint.NormName) => stream => stream.Write(type.ToBytes(Enumerable.Repeat(1f, Config.HiddenSize).ToArray())),
                (_, LlamaCheckpoint.EmbeddingName) => stream => CopyRows(name, type, stream, rotation.RotateEmbedding),
                _ => stream => CopyHead(type, stream),
            });
        }
    }

    /// <inheritdoc/>
    public void Dispose() => rotation?.Dispose();

    /// <summary>The tensor that the head's weight is read from: its own, or the embedding that it was tied to.</summary>
    private string HeadSource => checkpoint.Contains(HeadWeight) && !checkpoint.Config.TiedHead ? HeadWeight : LlamaCheckpoint.EmbeddingName;

    private LlamaHead LoadHead(Device device)
    {
        var head = new LlamaHead(Config);
        checkpoint.Load(LlamaCheckpoint.NormName, head.Norm.Weight);
        checkpoint.Load(HeadSource, head.Linear.Weight);
        if (rotation is not null)
        {
            using var scope = NewDisposeScope();
            head.Linear.Weight.copy_(rotation.RotateHead(head.Linear.Weight, head.Norm.Weight));
            head.Norm.Weight.fill_(1);
        }

        head.Norm.to(device);
        head.Linear.to(device);
        return head;
    }

    private void CopyHead(ElementType type, Stream stream)
    {
        using var scope = NewDisposeScope();
        var norm = zeros(Config.HiddenSize);
        checkpoint.Load(LlamaCheckpoint.NormName, norm);
        CopyRows(HeadSource, type, stream, rows => rotation!.RotateHead(rows, norm));
    }

    private void CopyRows(string name, ElementType type, Stream stream, Func<Tensor, Tensor> turn)
    {
        const int Rows = 1024;
        for (var first = 0; first < Config.VocabularySize; first += Rows)
        {
            using var scope = NewDisposeScope();
            stream.Write(type.ToBytes(Conversion.ValuesOf(turn(checkpoint.Rows(name, first, Math.Min(Rows, Config.VocabularySize - first))))));
        }
    }
}
