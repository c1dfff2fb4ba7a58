using System.CommandLine;
using System.CommandLine.Parsing;
using Nibble.Recipes;

namespace Nibble.Cli.Commands;

/// <summary>Options that take numbers. All are read the same way: digits, a decimal point, no thousands separators.</summary>
/// <remarks>The parser's own conversion reads 0,001 as 1, because it accepts the comma as a thousands separator.</remarks>
internal static class NumberOptions
{
    /// <summary>An optional number.</summary>
    /// <param name="name">The option's name.</param>
    /// <param name="accepts">The finite numbers that are valid.</param>
    /// <param name="expected">The same in words, for error messages.</param>
    /// <param name="description">The help text.</param>
    public static Option<double?> Number(string name, Predicate<double> accepts, string expected, string description) => new(name)
    {
        Description = description,
        CustomParser = result => ParseNumber(result, name, accepts, expected),
    };

    /// <summary>A number with a default.</summary>
    /// <inheritdoc cref="Number(string, Predicate{double}, string, string)"/>
    public static Option<double> Number(string name, double byDefault, Predicate<double> accepts, string expected, string description) => new(name)
    {
        Description = description,
        DefaultValueFactory = _ => byDefault,
        CustomParser = result => ParseNumber(result, name, accepts, expected) ?? byDefault,
    };

    /// <summary>An optional whole number within bounds.</summary>
    public static Option<int?> Whole(string name, int least, int most, string description) => new(name)
    {
        Description = description,
        CustomParser = result => (int?)ParseWhole(result, name, least, most),
    };

    /// <summary>An optional whole number with a lower bound.</summary>
    public static Option<int?> AtLeast(string name, int least, string description) => Whole(name, least, int.MaxValue, description);

    /// <summary>Any 64-bit whole number, with a default.</summary>
    public static Option<long> Whole(string name, long byDefault, string description) => new(name)
    {
        Description = description,
        DefaultValueFactory = _ => byDefault,
        CustomParser = result => ParseWhole(result, name, long.MinValue, long.MaxValue) ?? byDefault,
    };

    /// <summary>Whole numbers within bounds, comma-separated, each at most once.</summary>
    public static Option<int[]> Wholes(string name, int least, int most, string expected, string description, string example, params string[] aliases) =>
        new(name, aliases)
        {
            Description = description,
            CustomParser = result =>
            {
                var values = new List<int>();
                foreach (var part in result.Tokens.SelectMany(token => token.Value.Split(',')))
                {
                    if (!NumberText.TryParse(part, out long value) || value < least || value > most || values.Contains((int)value))
                    {
                        result.AddError($"{name}: '{part}' is not {expected}, or is repeated; write for example {name} {example}.");
                        return [];
                    }

                    values.Add((int)value);
                }

                return [.. values];
            },
        };

    private static double? ParseNumber(ArgumentResult result, string name, Predicate<double> accepts, string expected)
    {
        var text = result.Tokens[0].Value;
        if (!NumberText.TryParse(text, out double value))
        {
            result.AddError($"{name} is '{text}', which is not a number; expected {expected}{NumberText.DecimalHint(text)}.");
        }
        else if (!accepts(value))
        {
            result.AddError($"{name} is {text}, expected {expected}.");
        }
        else
        {
            return value;
        }

        return null;
    }

    private static long? ParseWhole(ArgumentResult result, string name, long least, long most)
    {
        var text = result.Tokens[0].Value;
        var expected = most < int.MaxValue ? $"{least} to {most}" : least > long.MinValue ? $"{least} or more" : "a 64-bit integer";
        if (!NumberText.TryParse(text, out long value))
        {
            result.AddError($"{name} is '{text}', which is not a whole number; expected {expected}{NumberText.WholeHint(text)}.");
        }
        else if (value < least || value > most)
        {
            result.AddError($"{name} is {text}, expected {(value > most ? $"{least} to {most}" : expected)}.");
        }
        else
        {
            return value;
        }

        return null;
    }
}
