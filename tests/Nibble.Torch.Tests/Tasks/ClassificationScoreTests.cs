using Nibble.Torch.Tasks;

namespace Nibble.Torch.Tests.Tasks;

/// <summary>Measures of classification, against values worked by hand.</summary>
public class ClassificationScoreTests
{
    // Rows are right classes, columns the predicted ones.
    private static readonly long[,] Two = { { 50, 10 }, { 5, 35 } };
    private static readonly long[,] Three = { { 3, 0, 1 }, { 1, 2, 0 }, { 0, 1, 2 } };

    [Fact]
    public void ConfusionCountsRightAndPredictedClasses()
    {
        var confusion = Classification.Confusion([0, 0, 0, 1, 1, 0, 2, 2, 0, 1], [0, 0, 0, 1, 1, 1, 2, 2, 2, 0], 3);

        Assert.Equal(new long[,] { { 3, 1, 0 }, { 1, 2, 0 }, { 1, 0, 2 } }, confusion);
    }

    [Fact]
    public void AccuracyIsTheShareOfTheDiagonal()
    {
        Assert.Equal(0.85, Classification.AccuracyOf(Two), 1e-12);
        Assert.Equal(0.7, Classification.AccuracyOf(Three), 1e-12);
    }

    // 2 TP / (2 TP + FP + FN) of class 1: 70 / 85. Of three classes the mean of 6/8, 4/6 and 4/6.
    [Fact]
    public void F1IsOfClassOneOrTheMean()
    {
        Assert.Equal(70.0 / 85, Classification.F1(Two), 1e-12);
        Assert.Equal((0.75 + (2 * 2.0 / 3)) / 3, Classification.F1(Three), 1e-12);
        Assert.Equal(0.0, Classification.F1(new long[,] { { 7, 0 }, { 0, 0 } }));
    }

    // (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)) = 1700 / sqrt(45 * 40 * 60 * 55).
    // Of three classes (Gorodkin 2004): (7 * 10 - (4*4 + 3*3 + 3*3)) / sqrt((100 - 34)(100 - 34)) = 36 / 66.
    [Fact]
    public void MatthewsIsTheCorrelationOfClasses()
    {
        Assert.Equal(1700 / Math.Sqrt(45.0 * 40 * 60 * 55), Classification.Matthews(Two), 1e-12);
        Assert.Equal(36.0 / 66, Classification.Matthews(Three), 1e-12);
        Assert.Equal(0, Classification.Matthews(new long[,] { { 7, 0 }, { 3, 0 } }));
    }
}
