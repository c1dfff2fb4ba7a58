using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Shared;

/// <summary>A convolutional network with its layers in fields, a Sequential in a Sequential, a depthwise convolution and a residual sum.</summary>
internal sealed class SmallCnn : nn.Module<Tensor, Tensor>
{
    private readonly nn.Module<Tensor, Tensor> conv1 = nn.Conv2d(2, 4, 3, padding: 1, bias: false);
    private readonly nn.Module<Tensor, Tensor> bn1 = nn.BatchNorm2d(4);
    private readonly nn.Module<Tensor, Tensor> features;
    private readonly Sequential downsample = nn.Sequential(nn.Conv2d(4, 6, 1, stride: 2), nn.BatchNorm2d(6));
    private readonly nn.Module<Tensor, Tensor> fc = nn.Linear(6, 3);

    public SmallCnn()
        : base(nameof(SmallCnn))
    {
        features = nn.Sequential(
            ("depthwise", nn.Conv2d(4, 4, 3, stride: 2, padding: 1, groups: 4)),
            ("norm", nn.BatchNorm2d(4)),
            ("inner", nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3, padding: 2, dilation: 2, groups: 2))));
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = nn.functional.relu(bn1.forward(conv1.forward(input)));
        var y = nn.functional.relu(features.call(x) + downsample.forward(x));
        return fc.forward(y.mean([2L, 3L])).MoveToOuterDisposeScope();
    }
}

/// <summary>Embeddings, a ModuleList, a ModuleDict, an array and a property that hold layers.</summary>
internal sealed class SmallText : nn.Module<Tensor, Tensor>
{
    private readonly nn.Module<Tensor, Tensor> embedding = nn.Embedding(11, 6);
    private readonly ModuleList<nn.Module<Tensor, Tensor>> hidden = new(nn.Linear(6, 6), nn.Linear(6, 6));
    private readonly ModuleDict<nn.Module<Tensor, Tensor>> heads = new();
    private readonly nn.Module<Tensor, Tensor>[] array = [nn.Linear(6, 6)];

    public SmallText()
        : base(nameof(SmallText))
    {
        heads.Add("left", nn.Linear(6, 2));
        heads.Add("right", nn.Linear(6, 2, hasBias: false));
        register_module("array0", array[0]);
        RegisterComponents();
    }

    private nn.Module<Tensor, Tensor> Last { get; } = nn.Linear(2, 2);

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = embedding.forward(input);
        foreach (var layer in hidden)
        {
            x = layer.forward(x).tanh();
        }

        x = array[0].forward(x).tanh();
        return Last.forward(heads["left"].forward(x) + heads["right"].forward(x)).MoveToOuterDisposeScope();
    }
}
