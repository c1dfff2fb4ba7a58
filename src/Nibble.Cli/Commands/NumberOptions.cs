using System.CommandLine;
using System.CommandLine.Parsing;
using Nibble.Recipes;

namespace Nibble.Cli.Commands;

/// <summary>Options that take numbers, all read in one way: digits, a decimal point, no separators between thousands.</summary>
/// <remarks>The parser's own way takes 0,001 for 1, since a comma may separate thousands there.</remarks>
internal static class NumberOptions
{
    /// <summary>A number that may be left out.</summary>
    /// <param name="name">The option's name.</param>
    /// <param name="accepts">Which finite numbers it takes.</param>
    /// <param name="expected">The same in words.</param>
    /// <param name="description">What it is for.</param>
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

    /// <summary>A whole number within bounds, which may be left out.</summary>
    public static Option<int?> Whole(string name, int least, int most, string description) => new(name)
    {
        Description = description,
        CustomParser = result => (int?)ParseWhole(result, name, least, most),
    };

    /// <summary>A whole number with a lower bound, which may be left out.</summary>
    public static Option<int?> AtLeast(string name, int least, string description) => Whole(name, least, int.MaxValue, description);

    /// <summary>Any whole number of 64 bits, with a default.</summary>
    public static Option<long> Whole(string name, long byDefault, string description) => new(name)
    {
        Description = description,
        DefaultValueFactory = _ => byDefault,
        CustomParser = result => ParseWhole(result, name, long.MinValue, long.MaxValue) ?? byDefault,
    };

    /// <summary>Whole numbers within bounds, with commas between them, each once.</summary>
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
                        result.AddError($"{name}: '{part}' is not {expected} that is named once; write for example {name} {example}.");
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
        var expected = most < int.MaxValue ? $"{least} to {most}" : least > long.MinValue ? $"{least} or more" : "one of 64 bits";
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
