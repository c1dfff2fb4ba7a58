using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

public class QatSettingsTests
{
    [Fact]
    public void DefaultsAreValid() => new QatSettings().Validate();

    [Fact]
    public void SettingsOutsideTheirRangeAreRefusedByName()
    {
        Refuse(new QatSettings { Steps = 0 }, nameof(QatSettings.Steps));
        Refuse(new QatSettings { BatchSize = 0 }, nameof(QatSettings.BatchSize));
        Refuse(new QatSettings { SequenceLength = 1 }, nameof(QatSettings.SequenceLength));
        Refuse(new QatSettings { LearningRate = double.NaN }, nameof(QatSettings.LearningRate));
        Refuse(new QatSettings { WarmUp = 1.5 }, nameof(QatSettings.WarmUp));
        Refuse(new QatSettings { GradientClip = -1 }, nameof(QatSettings.GradientClip));
    }

    private static void Refuse(QatSettings settings, string name) =>
        Assert.Equal(name, Assert.Throws<ArgumentOutOfRangeException>(settings.Validate).ParamName);
}
