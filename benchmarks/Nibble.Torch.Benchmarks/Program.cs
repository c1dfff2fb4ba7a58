using System.Globalization;
using Nibble.Torch.Benchmarks;
using Nibble.Torch.Native;

TorchRuntime.EnsureLoaded();
switch (args)
{
    case ["kernels", var threads, .. var rest]:
        FakeQuantizationTimes.Run(Number(threads), rest is [var repeats] ? Number(repeats) : 15);
        return 0;
    case ["steps", var threads, .. var rest]:
        TrainingSteps.Compare(Number(threads), rest is [var rounds] ? Number(rounds) : 15);
        return 0;
    case ["memory", var threads, var shape, var recipe, var method]:
        TrainingSteps.Peak(Number(threads), shape, recipe, method);
        return 0;
    case ["profile", var threads, var shape, var recipe, var method]:
        TrainingSteps.Profile(Number(threads), shape, recipe, method);
        return 0;
    case ["resnet20", var folder, var threads, var method, var widths, var seed, var epochs, .. var rest]:
        ResNetRuns.Run(folder, Number(threads), method, widths, Number(seed), Number(epochs), rest is [var images] ? Number(images) : int.MaxValue);
        return 0;
    default:
        Console.Error.WriteLine(
            "kernels THREADS [REPEATS] | steps THREADS [ROUNDS] | memory THREADS SHAPE RECIPE ROAD | profile THREADS SHAPE RECIPE ROAD | resnet20 FOLDER "
            + "THREADS float|control|ptq|qat WIDTHS SEED EPOCHS [IMAGES]");
        return 2;
}

static int Number(string argument) => int.Parse(argument, CultureInfo.InvariantCulture);
