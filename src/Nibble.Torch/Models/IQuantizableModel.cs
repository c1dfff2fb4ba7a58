using Nibble.Models;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>A model in memory that PTQ and QAT can quantize: a sequence of blocks with quantizable linear layers.</summary>
public interface IQuantizableModel : IDisposable
{
    /// <summary>The model's definition.</summary>
    ModelDefinition Definition { get; }

    /// <summary>The module that holds its parameters, under the names that checkpoints use.</summary>
    nn.Module Module { get; }

    /// <summary>Its blocks, in order.</summary>
    IReadOnlyList<IQuantizableBlock> Blocks { get; }

    /// <summary>The layers that a recipe decides about, by name, in the model's order.</summary>
    IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Layers { get; }

    /// <summary>Whether the activations of a block are recomputed in the backward pass instead of kept in memory.</summary>
    bool Recompute { get; set; }

    /// <summary>Draws new values for parameters in the way the family initializes its training.</summary>
    /// <param name="generator">The random generator.</param>
    /// <param name="drawn">Selects parameters by name. Null draws all.</param>
    void Initialize(Generator generator, Func<string, bool>? drawn = null);

    /// <summary>Computes the output of the model's task.</summary>
    /// <param name="batch">The tokens.</param>
    /// <param name="blocks">Receives the output of each block, [batch, length, hidden]. Null if not needed.</param>
    /// <returns>Logits of the next token, [batch, length, vocabulary]; logits of the classes, [batch, classes]; or vectors, [batch, hidden].</returns>
    Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null);
}

/// <summary>Extensions of every <see cref="IQuantizableModel"/>.</summary>
public static class QuantizableModels
{
    /// <summary>The linear layers by name, in the model's order.</summary>
    public static IEnumerable<KeyValuePair<string, QuantizableLinear>> Linears(this IQuantizableModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Layers.Where(layer => layer.Value is QuantizableLinear).Select(layer => KeyValuePair.Create(layer.Key, (QuantizableLinear)layer.Value));
    }

    /// <summary>The parameters, with their names in checkpoints.</summary>
    public static IEnumerable<(string Name, Parameter Value)> Parameters(this IQuantizableModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Module.named_parameters().Select(item => (item.name, item.parameter));
    }

    /// <summary>The number of values in all parameters.</summary>
    public static long ParameterCount(this IQuantizableModel model) => model.Parameters().Sum(parameter => parameter.Value.numel());

    /// <summary>Whether the model is in CPU memory.</summary>
    internal static bool IsOnCpu(this IQuantizableModel model) => model.Parameters().First().Value.device_type == TorchSharp.DeviceType.CPU;
}

/// <summary>The input of a block.</summary>
/// <param name="Hidden">The residual stream, [batch, length, hidden].</param>
/// <param name="Mask">True for tokens that are not padding, bool [batch, length]. Null if there is no padding.</param>
public readonly record struct BlockInput(Tensor Hidden, Tensor? Mask = null);

/// <summary>A part of a model that is quantized as a unit: one of its blocks, or the head after them.</summary>
public interface IQuantizableBlock : IDisposable
{
    /// <summary>The module that holds its parameters.</summary>
    nn.Module Module { get; }

    /// <summary>Its parameters, with their names inside the block.</summary>
    IReadOnlyList<KeyValuePair<string, Parameter>> Parameters => [.. Module.named_parameters().Select(item => KeyValuePair.Create(item.name, item.parameter))];

    /// <summary>Its linear layers, grouped by the input they read, in the order of computation.</summary>
    IReadOnlyList<BlockStage> Stages { get; }

    /// <summary>Computes the block's output.</summary>
    Tensor Compute(BlockInput input);
}

/// <summary>Linear layers of a block that read the same input.</summary>
/// <param name="Layers">The layers, with their names inside the block.</param>
/// <param name="Trace">Computes the layers' input from the block's input, [batch, length, in] or [batch, in].</param>
public sealed record BlockStage(IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Layers, Func<BlockInput, StageTrace> Trace)
{
    /// <summary>The module that produces the input, if channel factors can be moved into it. Null if they cannot.</summary>
    public IChannelProducer? Producer { get; init; }
}

/// <summary>The input of a stage's layers.</summary>
/// <param name="Input">The input.</param>
/// <param name="Residual">The residual stream that the layers' output is added to. Null if the output is not added to it.</param>
public readonly record struct StageTrace(Tensor Input, Tensor? Residual = null);

/// <summary>The part before the first block, which turns tokens into vectors.</summary>
public interface IInputPart : IDisposable
{
    /// <summary>Its parameters except <see cref="Words"/>, with their names in checkpoints.</summary>
    IReadOnlyList<KeyValuePair<string, Parameter>> Parameters { get; }

    /// <summary>The table with one row per token, with its name in checkpoints. It need not be in memory as a whole.</summary>
    KeyValuePair<string, Parameter> Words { get; }

    /// <summary>The embedding tables that a recipe decides about, by name. Empty for families that do not quantize them.</summary>
    IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Tables { get; }

    /// <summary>The vectors of tokens.</summary>
    /// <param name="batch">The tokens.</param>
    /// <param name="words">The tokens' rows of the word table, [batch, length, width]. Null reads them from <see cref="Words"/>.</param>
    /// <returns>[batch, length, hidden].</returns>
    Tensor Embed(ModelBatch batch, Tensor? words = null);
}

/// <summary>The parts of a model, created on request, so that only one has to be in memory.</summary>
public interface IModelParts : IDisposable
{
    /// <summary>Creates the part before the first block.</summary>
    IInputPart CreateInput();

    /// <summary>Creates a block with uninitialised values.</summary>
    /// <param name="index">Its number, from 0.</param>
    IQuantizableBlock CreateBlock(int index);

    /// <summary>Creates the part after the last block, with uninitialised values. Null if nothing in it can be quantized.</summary>
    IQuantizableBlock? CreateHead();

    /// <summary>Creates the Hadamard rotation of the model.</summary>
    /// <param name="seed">The seed of the random signs.</param>
    /// <returns>Null for a family that cannot be rotated.</returns>
    IModelRotation? CreateRotation(long seed) => null;
}

/// <summary>Creates the modules of a model family.</summary>
public interface IModuleFamily
{
    /// <summary>Whether a definition belongs to this family.</summary>
    bool Builds(ModelDefinition definition);

    /// <summary>Creates a whole model with uninitialised values.</summary>
    IQuantizableModel CreateModel(ModelDefinition definition);

    /// <summary>Creates the parts of a model.</summary>
    IModelParts CreateParts(ModelDefinition definition);
}
