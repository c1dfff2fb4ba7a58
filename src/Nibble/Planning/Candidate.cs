using System.Globalization;
using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>A kind of option that the advisor considers: a method with a recipe.</summary>
/// <param name="Method">The method that reaches the bit width.</param>
/// <param name="Recipe">What happens to each layer, and how it is trained or calibrated.</param>
internal sealed record Candidate(Method Method, Recipe Recipe)
{
    /// <summary>The recipe as a command takes it: a preset's name or a file's path.</summary>
    public string Source { get; init; } = Recipe.Name;

    private const int DefaultGroupSize = 32;

    /// <summary>Whether weights are trained.</summary>
    public bool Trains => Method is Method.Qat or Method.Hybrid;

    /// <summary>The option's bit width: the lowest of its layers' weights.</summary>
    public int Bits => Recipe.Rules.Min(rule => rule.Weights?.Bits ?? int.MaxValue);

    /// <summary>Whether the option needs text.</summary>
    public bool NeedsData => Trains || Recipe.NeedsCalibration;

    /// <summary>The option's name.</summary>
    public string Name => $"{Method.ToString().ToLowerInvariant()} {Recipe.Name}";

    /// <summary>The option with its calibration limited to a number of tokens: fewer windows, and shorter ones if not even one fits.</summary>
    /// <param name="tokens">The most tokens to calibrate on; null for no limit. 0 leaves the option unchanged, because it will not be tried.</param>
    /// <param name="longest">Tokens of the longest window that the model takes.</param>
    public Candidate Within(long? tokens, int longest)
    {
        if (tokens is not > 0)
        {
            return this;
        }

        var ptq = Recipe.Ptq;
        var length = (int)Math.Clamp(tokens.Value, 2, Math.Min(ptq.SequenceLength, longest));
        var windows = (int)Math.Clamp(tokens.Value / length, 1, ptq.Windows);
        return this with { Recipe = Recipe with { Ptq = ptq with { SequenceLength = length, Windows = windows } } };
    }

    /// <summary>The option of a recipe: a hybrid if the recipe leaves some sides to PTQ and trains others, otherwise post-training quantization.</summary>
    /// <param name="source">A preset's name or a file's path, such as the output of <c>nibble mix</c>.</param>
    public static Candidate Load(string source) =>
        RecipeFile.Load(source) is var recipe && recipe.IsHybrid ? new(Method.Hybrid, recipe) { Source = source } : new(Method.Ptq, recipe) { Source = source };

    /// <summary>The options at one bit width. Of those that need text, the most promising come first.</summary>
    /// <param name="bits">Bits of a weight, 2 to 8.</param>
    /// <param name="activations">Bits of the layers' inputs: 16 for float, 8 or 4.</param>
    /// <param name="groupSize">Weights per scale; null takes 32, or a whole row if the engine computes 8-bit weights with 8-bit inputs only by rows.</param>
    /// <param name="engine">The engine that runs the result. llama.cpp's 8-bit blocks are symmetric.</param>
    /// <param name="encoder">Whether the model is an encoder, which trains at other rates and takes no rotation.</param>
    public static IReadOnlyList<Candidate> For(int bits, int activations, int? groupSize, Engine engine, bool encoder = false)
    {
        var symmetric = engine == Engine.LlamaCpp && bits == 8 ? "-sym" : string.Empty;
        var byRows = groupSize is null && (bits, activations) == (8, 8) && (engine is Engine.Vllm or Engine.OnnxRuntime);
        var groups = byRows ? string.Empty : string.Create(CultureInfo.InvariantCulture, $"-g{groupSize ?? DefaultGroupSize}{symmetric}");
        var width = string.Create(CultureInfo.InvariantCulture, $"w{bits}a{activations}{groups}");
        var trained = width + (encoder ? "-encoder" : string.Empty);
        List<string> algorithms = ["", "-mse", "-gptaq", "-gptq"];
        if (activations < 8 && !encoder)
        {
            algorithms.Insert(2, "-rotated-gptaq");
        }

        return
        [
            .. algorithms.Select(algorithm => new Candidate(Method.Ptq, RecipePresets.Parse(width + algorithm))),
            new(Method.Qat, RecipePresets.Parse(trained)),

            // If inputs are quantized, a hybrid can keep the weights from PTQ and train the inputs' ranges.
            .. activations < 16 ? new[] { new Candidate(Method.Hybrid, RecipePresets.Parse(trained + "-hybrid-weights-ptq-activations-qat")) } : [],
        ];
    }
}
