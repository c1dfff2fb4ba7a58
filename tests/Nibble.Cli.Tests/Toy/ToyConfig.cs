using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Cli.Tests.Toy;

/// <summary>An encoder without attention: a bag of words through layers with a residual stream.</summary>
internal sealed record ToyConfig : ModelDefinition
{
    public const string Type = "toy";
    public const string Words = "toy.words";
    public const string Head = "toy.head";

    public required int Inner { get; init; }

    public required int Labels { get; init; }

    public required TaskConfig For { get; init; }

    public override ModelTask? Task => For.Task;

    public override int MaxSequence => 12;

    public bool HasHead => For.Task != ModelTask.Embedding;

    public override IReadOnlyList<TensorDefinition> InputTensors => [new(Words + ".weight", [VocabularySize, HiddenSize])];

    public override IReadOnlyList<TensorDefinition> HeadTensors => HasHead ? [.. Linear(Head, Labels, HiddenSize, bias: true)] : [];

    public override IReadOnlyList<KeptLayer> OutOfReach => [new(Words, "a toy's words stay float")];

    public override string BlockPrefix(int block) => string.Create(CultureInfo.InvariantCulture, $"toy.blocks.{block}.");

    public override IReadOnlyList<TensorDefinition> BlockTensors(int block) =>
    [
        .. Linear("up", Inner, HiddenSize, bias: true), .. Linear("down", HiddenSize, Inner, bias: false),
        new("norm.weight", [HiddenSize]), new("norm.bias", [HiddenSize]),
    ];

    public override bool IsTable(string layer) => layer == Words;

    public override ModelShape ShapeOf(string name) =>
        new(name, Layers, HiddenSize, Inner, 0, VocabularySize, TiedHead: true) { IsGated = false, HasHead = false };

    public static ToyConfig Parse(string json)
    {
        var config = JsonNode.Parse(json)!;
        int Size(string name) => config[name]!.GetValue<int>();
        return new ToyConfig
        {
            ModelType = Type,
            VocabularySize = Size("vocab_size"),
            HiddenSize = Size("hidden_size"),
            Layers = Size("num_hidden_layers"),
            Inner = Size("intermediate_size"),
            Labels = config["id2label"]?.AsObject().Count ?? 1,
            For = TaskConfig.In(json) ?? new TaskConfig(ModelTask.Classification),
        };
    }
}
