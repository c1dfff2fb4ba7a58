using Nibble.Cli.Report;

namespace Nibble.Cli.Tests.Report;

public class NumbersTests
{
    [Theory]
    [InlineData(4.1234, "4.123")]
    [InlineData(51.239, "51.24")]
    [InlineData(512.34, "512.3")]
    [InlineData(12345.6, "12346")]
    [InlineData(3.21e9, "3.2e+9")]
    [InlineData(double.NaN, "n/a")]
    [InlineData(double.PositiveInfinity, "∞")]
    public void PerplexityKeepsFourDigits(double value, string expected) => Assert.Equal(expected, Numbers.Perplexity(value));

    [Theory]
    [InlineData(0.0089, "+0.0089")]
    [InlineData(-0.012, "-0.0120")]
    [InlineData(0, "0.0000")]
    [InlineData(-0.00001, "0.0000")]
    [InlineData(double.NaN, "n/a")]
    public void LossCarriesItsSign(double value, string expected) => Assert.Equal(expected, Numbers.Loss(value));

    [Theory]
    [InlineData(0.0089, "+0.9%")]
    [InlineData(-0.0120, "-1.2%")]
    [InlineData(0.00001, "0.0%")]
    [InlineData(4.83, "125×")]
    [InlineData(1, "2.7×")]
    [InlineData(30, "1.1e+13×")]
    [InlineData(double.PositiveInfinity, "∞")]
    public void ChangeIsAPercentageUntilItDoubles(double nats, string expected) => Assert.Equal(expected, Numbers.Change(nats));

    [Theory]
    [InlineData(282_784, 1_045_397, "3.70 times smaller than 1,045,397")]
    [InlineData(1234, 1000, "1.23 times larger than 1,000")]
    [InlineData(1000, 1000, "as large as 1,000")]
    [InlineData(536_192, 536_000, "as large as 536,000")]
    public void SizesSayWhetherTheyShrink(long bytes, long source, string expected) => Assert.Equal(expected, Numbers.Smaller(bytes, source));

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(999, "999 B")]
    [InlineData(1000, "1.00 kB")]
    [InlineData(1_056_768, "1.06 MB")]
    [InlineData(999_960, "1.00 MB")]
    [InlineData(45_600_000_000, "45.6 GB")]
    public void BytesAreDecimal(long value, string expected) => Assert.Equal(expected, Numbers.Bytes(value));

    [Theory]
    [InlineData(0.615, "0.62 s")]
    [InlineData(61.44, "61.4 s")]
    [InlineData(600, "10.0 min")]
    [InlineData(9000, "2.5 h")]
    public void DurationChoosesItsUnit(double seconds, string expected) => Assert.Equal(expected, Numbers.Duration(seconds));

    [Theory]
    [InlineData(0.1834, "18%")]
    [InlineData(0.0412, "4.1%")]
    [InlineData(0.000031, "0.0031%")]
    [InlineData(1e-9, "<0.0001%")]
    [InlineData(0, "0%")]
    public void RelativeErrorKeepsTwoDigits(double value, string expected) => Assert.Equal(expected, Numbers.RelativeError(value));

    [Theory]
    [InlineData(0.00001, "<0.0001")]
    [InlineData(0.0212, "0.0212")]
    [InlineData(0, "0.0000")]
    public void DivergenceDoesNotRoundToNothing(double value, string expected) => Assert.Equal(expected, Numbers.Divergence(value));
}
