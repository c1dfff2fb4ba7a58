using Nibble.Models;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>A model in memory that both roads work on: blocks in a row, whose linear layers can be quantized.</summary>
public interface IQuantizableModel : IDisposable
{
    /// <summary>What it is.</summary>
    ModelDefinition Definition { get; }

    /// <summary>The module that holds its parameters, under the names that checkpoints have for them.</summary>
    nn.Module Module { get; }

    /// <summary>Its blocks, in order.</summary>
    IReadOnlyList<IQuantizableBlock> Blocks { get; }

    /// <summary>The layers that a recipe decides about, by name, in the model's order.</summary>
    IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Layers { get; }

    /// <summary>Whether a block's activations are computed again in the backward pass instead of kept.</summary>
    bool Recompute { get; set; }

    /// <summary>Draws parameters anew, as the family begins its training.</summary>
    /// <param name="generator">What draws.</param>
    /// <param name="drawn">Which, by name; null draws all.</param>
    void Initialize(Generator generator, Func<string, bool>? drawn = null);

    /// <summary>Computes what the model's task asks for.</summary>
    /// <param name="batch">The tokens.</param>
    /// <param name="blocks">Receives what each block puts out, [batch, length, hidden]; null where nobody asks.</param>
    /// <returns>Logits of the next token, [batch, length, vocabulary]; logits of the classes, [batch, classes]; or vectors, [batch, hidden].</returns>
    Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null);
}

/// <summary>What every <see cref="IQuantizableModel"/> can tell.</summary>
public static class QuantizableModels
{
    /// <summary>The linear layers by name, in the model's order.</summary>
    public static IEnumerable<KeyValuePair<string, QuantizableLinear>> Linears(this IQuantizableModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Layers.Where(layer => layer.Value is QuantizableLinear).Select(layer => KeyValuePair.Create(layer.Key, (QuantizableLinear)layer.Value));
    }

    /// <summary>The parameters by their names in checkpoints.</summary>
    public static IEnumerable<(string Name, Parameter Value)> Parameters(this IQuantizableModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Module.named_parameters().Select(item => (item.name, item.parameter));
    }

    /// <summary>Values in all parameters.</summary>
    public static long ParameterCount(this IQuantizableModel model) => model.Parameters().Sum(parameter => parameter.Value.numel());

    /// <summary>Whether the model is in memory of the CPU.</summary>
    internal static bool IsOnCpu(this IQuantizableModel model) => model.Parameters().First().Value.device_type == TorchSharp.DeviceType.CPU;
}

/// <summary>What goes into a block.</summary>
/// <param name="Hidden">The residual stream, [batch, length, hidden].</param>
/// <param name="Mask">Which tokens are no padding, bool [batch, length]; null where all are real.</param>
public readonly record struct BlockInput(Tensor Hidden, Tensor? Mask = null);

/// <summary>A part of a model that is quantized at a time: one of its blocks, or the head behind them.</summary>
public interface IQuantizableBlock : IDisposable
{
    /// <summary>The module that holds its parameters.</summary>
    nn.Module Module { get; }

    /// <summary>Its parameters, by their names inside the block.</summary>
    IReadOnlyList<KeyValuePair<string, Parameter>> Parameters => [.. Module.named_parameters().Select(item => KeyValuePair.Create(item.name, item.parameter))];

    /// <summary>Its linear layers, by what they read, in the order in which the block computes them.</summary>
    IReadOnlyList<BlockStage> Stages { get; }

    /// <summary>Computes what the block puts out.</summary>
    Tensor Compute(BlockInput input);
}

/// <summary>Linear layers of a block that read the same input.</summary>
/// <param name="Layers">The layers, by their names inside the block.</param>
/// <param name="Trace">What they read when the block runs on an input, [batch, length, in] or [batch, in].</param>
public sealed record BlockStage(IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Layers, Func<BlockInput, StageTrace> Trace)
{
    /// <summary>What makes the input, where factors of its channels can be moved there; null where they cannot.</summary>
    public IChannelProducer? Producer { get; init; }
}

/// <summary>What the layers of a stage read.</summary>
/// <param name="Input">The input.</param>
/// <param name="Residual">The residual stream that the layers' output is added to; null where it is not.</param>
public readonly record struct StageTrace(Tensor Input, Tensor? Residual = null);

/// <summary>The part before the first block, which turns tokens into vectors.</summary>
public interface IInputPart : IDisposable
{
    /// <summary>Its parameters but <see cref="Words"/>, by the names that checkpoints have for them.</summary>
    IReadOnlyList<KeyValuePair<string, Parameter>> Parameters { get; }

    /// <summary>The table that has a row for each token, by its name in checkpoints: it need not be in memory whole.</summary>
    KeyValuePair<string, Parameter> Words { get; }

    /// <summary>The tables that a recipe decides about, by name; none in families that leave them alone.</summary>
    IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Tables { get; }

    /// <summary>The vectors of tokens.</summary>
    /// <param name="batch">The tokens.</param>
    /// <param name="words">Their rows of the table of words, [batch, length, width]; null takes them from <see cref="Words"/>.</param>
    /// <returns>[batch, length, hidden].</returns>
    Tensor Embed(ModelBatch batch, Tensor? words = null);
}

/// <summary>The parts of a model, each made when it is asked for, so that one in memory is enough.</summary>
public interface IModelParts : IDisposable
{
    /// <summary>The part before the first block.</summary>
    IInputPart CreateInput();

    /// <summary>A block, with values that mean nothing.</summary>
    /// <param name="index">Its number, from 0.</param>
    IQuantizableBlock CreateBlock(int index);

    /// <summary>What follows the last block, with values that mean nothing; null where nothing of it can be quantized.</summary>
    IQuantizableBlock? CreateHead();

    /// <summary>What turns the model by Hadamard matrices.</summary>
    /// <param name="seed">Draws their signs.</param>
    /// <returns>Null for a family that cannot be rotated.</returns>
    IModelRotation? CreateRotation(long seed) => null;
}

/// <summary>Makes the modules of a family's models.</summary>
public interface IModuleFamily
{
    /// <summary>Whether the models of a definition are of this family.</summary>
    bool Builds(ModelDefinition definition);

    /// <summary>A whole model, with values that mean nothing.</summary>
    IQuantizableModel CreateModel(ModelDefinition definition);

    /// <summary>The parts of a model.</summary>
    IModelParts CreateParts(ModelDefinition definition);
}
