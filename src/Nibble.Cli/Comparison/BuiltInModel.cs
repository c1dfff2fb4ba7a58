namespace Nibble.Cli.Comparison;

/// <summary>The small model that comes with the program, with its texts. samples/storyteller trained it.</summary>
internal static class BuiltInModel
{
    private static string Root => Path.Combine(AppContext.BaseDirectory, "storyteller");

    /// <summary>The checkpoint.</summary>
    public static string Folder => Path.Combine(Root, "model");

    /// <summary>Text to calibrate and train on.</summary>
    public static string TrainingText => Path.Combine(Root, "data", "train.txt");

    /// <summary>Held-out text to score on.</summary>
    public static string EvaluationText => Path.Combine(Root, "data", "eval.txt");
}
